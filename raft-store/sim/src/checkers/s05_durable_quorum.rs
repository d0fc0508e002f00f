//! S5: what is committed is durable on a quorum.

use std::collections::BTreeSet;

use kontiki_proto::log as proto;
use kontiki_proto::raft as proto_raft;
use prost::Message as _;
use store_api::NodeId;

use super::Checker;
use crate::facts::{Entry, Fact, Message};
use crate::view::{Shadow, View, is_quorum};

#[derive(Default)]
pub(super) struct DurableQuorum {
    /// Memberships that a leader has sent, with their index: they decide as soon as it has them, on its disk or not.
    sent: Vec<(u64, Voters)>,
}

/// A quorum of each is needed.
type Voters = Vec<BTreeSet<NodeId>>;

impl Checker for DurableQuorum {
    fn name(&self) -> &'static str {
        "S5 durable on a quorum"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        if let Fact::Sent { message: Message::Append(request), .. } = fact {
            self.note(request);
        }
        let Fact::Committed { index, host } = fact else { return Ok(()) };
        let Some(entry) = view.truth.committed.get(*index as usize) else { return Ok(()) };
        // The founders' membership is not replicated: everybody was told it.
        if *index == 0 {
            return Ok(());
        }
        let holders: BTreeSet<NodeId> =
            view.shadows.iter().filter(|(_, log)| log.holds(entry)).map(|(id, _)| *id).collect();
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
