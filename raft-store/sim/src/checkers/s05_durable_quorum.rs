//! S5: what is committed is durable on a quorum.

use std::collections::BTreeSet;

use kontiki_proto::log as proto;
use prost::Message as _;
use store_api::NodeId;

use super::Checker;
use crate::facts::{Entry, Fact};
use crate::view::{Shadow, View, is_quorum};

pub(super) struct DurableQuorum;

impl Checker for DurableQuorum {
    fn name(&self) -> &'static str {
        "S5 durable on a quorum"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Committed { index, host } = fact else { return Ok(()) };
        let Some(entry) = view.truth.committed.get(*index as usize) else { return Ok(()) };
        // The founders' membership is not replicated: everybody was told it.
        if *index == 0 {
            return Ok(());
        }
        let holders: BTreeSet<NodeId> =
            view.shadows.iter().filter(|(_, log)| log.holds(entry)).map(|(id, _)| *id).collect();
        let configurations = configurations(entry, view);
        match configurations.iter().any(|voters| is_quorum(voters, &holders)) {
            true => Ok(()),
            false => {
                Err(format!("{:?}, committed by {host}, is durable on {holders:?}, of {configurations:?}", entry.place))
            }
        }
    }
}

/// The voters that may have decided: as of the last membership before the entry, or of one in the log behind it.
fn configurations(entry: &Entry, view: &View) -> Vec<Vec<BTreeSet<NodeId>>> {
    let index = entry.place.index;
    let committed = view.truth.memberships.iter().rev().find(|(at, _)| *at <= index).map(|(_, membership)| membership);
    let later = view.shadows.values().flat_map(|log| later(log, index));
    committed.map(sets).into_iter().chain(later).collect()
}

fn later(log: &Shadow, index: u64) -> Vec<Vec<BTreeSet<NodeId>>> {
    let membership = |entry: &Entry| match proto::Entry::decode(entry.bytes.clone()).ok()?.payload? {
        proto::entry::Payload::Membership(membership) => Some(sets(&membership)),
        _ => None,
    };
    log.entries.range(index..).filter_map(|(_, entry)| membership(entry)).collect()
}

fn sets(membership: &proto::Membership) -> Vec<BTreeSet<NodeId>> {
    membership.voters.iter().map(|set| set.ids.iter().copied().collect()).collect()
}
