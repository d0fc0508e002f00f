//! S5: what is committed is durable on a quorum, or was when each of it said so: a disk may be wiped after the answer.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_proto::log as proto;
use kontiki_proto::raft as proto_raft;
use kontiki_proto::raft::append_response::Result as Appended;
use prost::Message as _;
use store_api::NodeId;

use super::Checker;
use crate::facts::{Entry, Fact, Message};
use crate::view::{Shadow, View, is_quorum};

#[derive(Default)]
pub(super) struct DurableQuorum {
    /// Memberships that a leader has sent, with their index: they decide as soon as it has them, on its disk or not.
    sent: Vec<(u64, Voters)>,
    /// Term and index of the last entry that each has said it has.
    answered: BTreeMap<NodeId, (u64, u64)>,
    /// The same of those whose disks were wiped, as of then.
    last_words: BTreeMap<NodeId, (u64, u64)>,
}

/// A quorum of each is needed.
type Voters = Vec<BTreeSet<NodeId>>;

impl Checker for DurableQuorum {
    fn name(&self) -> &'static str {
        "S5 durable on a quorum"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Sent { message: Message::Append(request), .. } => self.note(request),
            Fact::Sent { from, message: Message::Appended(response), .. } => self.hear(*from, response),
            Fact::Wiped { host } => self.last_words.extend(self.answered.remove(host).map(|said| (*host, said))),
            _ => {}
        }
        let Fact::Committed { index, host } = fact else { return Ok(()) };
        let Some(entry) = view.truth.committed.get(*index as usize) else { return Ok(()) };
        // The founders' membership is not replicated: everybody was told it.
        if *index == 0 {
            return Ok(());
        }
        let had = |id: &NodeId, log: &Shadow| {
            let said = self.last_words.get(id).copied();
            log.holds(entry) && said >= Some((entry.place.term, *index))
        };
        let have = view.shadows.iter().filter(|(_, log)| log.holds(entry));
        let holders: BTreeSet<NodeId> =
            have.chain(view.lost.iter().filter(|(id, log)| had(id, log))).map(|(id, _)| *id).collect();
        let mut configurations = configurations(entry, view);
        configurations.extend(self.sent.iter().filter(|(at, _)| *at > *index).map(|(_, voters)| voters.clone()));
        match configurations.iter().any(|voters| is_quorum(voters, &holders)) {
            true => Ok(()),
            false => {
                Err(format!("{:?}, committed by {host}, is durable on {holders:?}, of {configurations:?}", entry.place))
            }
        }
    }
}

impl DurableQuorum {
    fn hear(&mut self, from: NodeId, response: &proto_raft::AppendResponse) {
        let Some(Appended::Accepted(accepted)) = &response.result else { return };
        let Some(id) = accepted.log_id else { return };
        let said = self.answered.entry(from).or_default();
        *said = (id.term, id.index).max(*said);
    }

    fn note(&mut self, request: &proto_raft::AppendRequest) {
        let entries = request.entries.iter().filter_map(|raw| proto::Entry::decode(raw.clone()).ok());
        for entry in entries {
            let (Some(id), Some(proto::entry::Payload::Membership(membership))) = (entry.id, entry.payload) else {
                continue;
            };
            let sent = (id.index, sets(&membership));
            if !self.sent.contains(&sent) {
                self.sent.push(sent);
            }
        }
    }
}

/// The voters that may have decided: as of the last membership before the entry, or of one in the log behind it.
fn configurations(entry: &Entry, view: &View) -> Vec<Voters> {
    let index = entry.place.index;
    let committed = view.truth.memberships.iter().rev().find(|(at, _)| *at <= index).map(|(_, membership)| membership);
    let later = view.shadows.values().flat_map(|log| later(log, index));
    committed.map(sets).into_iter().chain(later).collect()
}

fn later(log: &Shadow, index: u64) -> Vec<Voters> {
    let membership = |entry: &Entry| match proto::Entry::decode(entry.bytes.clone()).ok()?.payload? {
        proto::entry::Payload::Membership(membership) => Some(sets(&membership)),
        _ => None,
    };
    log.entries.range(index..).filter_map(|(_, entry)| membership(entry)).collect()
}

fn sets(membership: &proto::Membership) -> Voters {
    membership.voters.iter().map(|set| set.ids.iter().copied().collect()).collect()
}
