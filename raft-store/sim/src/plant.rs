//! Bugs planted on purpose: a checker that has not caught one is not to be trusted.
//!
//! Where a replica of the product would have to be wrong, its words or its disk are made to be: what the others and
//! the checkers get is what a replica with that bug would do.

use bytes::Bytes;
use kontiki_proto::log as log_proto;
use kontiki_proto::raft as proto;
use prost::Message as _;
use store_api::{NodeId, Revision};
use store_node::Inspection;

use crate::facts::{Fact, How, Message, Seen, What};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// S1: a leader calls itself by another's name.
    Impostor,
    /// S2: an entry arrives at one replica as another one.
    OtherEntry,
    /// S4, S12, S13: one replica says it has another state.
    OtherState,
    /// S5, S11 (M1): what is appended is acknowledged before it is durable.
    AckBeforeSync,
    /// S3, S6, S8, S9, C1 (M2, M3, M17): a sync does nothing, and what a power cut takes away is not missed.
    SyncIsNoSync,
    /// S7: the log is purged beyond the snapshot.
    PurgeTooFar,
    /// S8: the committed index goes back.
    CommitGoesBack,
    /// S10 (M4): the log is written before the vote.
    LogBeforeVote,
    /// S13: what is applied again gives another state.
    OtherWhenRepeated,
    /// S14: the state jumps, and no snapshot took its place.
    JumpWithoutSnapshot,
    /// S15: snapshots of equal states differ.
    OtherSnapshot,
    /// S16 (M16): a voter that lost its data votes.
    WipedVotes,
    /// S17: two voters are exchanged at once.
    DisjointQuorums,
    /// S18 (M6, M7): reads do not ask whether this replica is behind.
    ReadWithoutAsking,
    /// S19: applying depends on how entries are grouped.
    ApplyByGroup,
    /// S20: callers are not looked at.
    AnswerStrangers,
    /// S21: a partition that never heals.
    NeverHeal,
    /// M8: a watch that is full loses events.
    WatchLosesEvents,
    /// M9: a watch goes on one revision too late.
    ResumeTooLate,
    /// M10: progress is told before the event.
    ProgressTooEarly,
    /// M15: a write that is tried again is another write.
    RetryIsAnother,
    /// L4: leases end too early.
    LeaseEndsEarly,
}

impl Plant {
    pub(crate) fn on_the_wire(self, _from: NodeId, to: NodeId, message: &mut Message) {
        match (self, message) {
            (Self::Impostor, Message::Append(append)) => {
                if let Some(vote) = &mut append.vote {
                    vote.node = to;
                }
            }
            (Self::OtherEntry, Message::Append(append)) if to == 2 => append.entries.iter_mut().for_each(change_value),
            _ => {}
        }
    }

    /// What a replica with the bug says besides.
    pub(crate) fn forges(self, from: NodeId, to: NodeId, message: &Message) -> Option<Fact> {
        match (self, message) {
            (Self::WipedVotes, Message::Vote(asked)) => {
                let voted = proto::VoteResponse { vote: asked.vote, granted: true, ..Default::default() };
                Some(Fact::Sent { from: to, to: from, message: Message::Voted(voted) })
            }
            _ => None,
        }
    }

    /// What the checkers do not get to know of.
    pub(crate) fn hides(self, fact: &Fact) -> bool {
        match self {
            Self::AckBeforeSync => matches!(fact, Fact::Synced { host } if *host != 1),
            Self::LogBeforeVote => matches!(fact, Fact::Voted { .. }),
            _ => false,
        }
    }

    pub(crate) fn on_inspection(self, host: NodeId, now: &mut Inspection) {
        match self {
            Self::OtherState if host == 2 => now.hash ^= 1,
            Self::JumpWithoutSnapshot => now.snapshot = None,
            Self::PurgeTooFar => now.purged = now.committed.or(now.purged),
            Self::CommitGoesBack => {
                if let Some(committed) = &mut now.committed
                    && committed.index % 7 == 0
                {
                    committed.index = committed.index.saturating_sub(2);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn on_states(self, life: u64, states: &mut [(u64, Revision, u64)]) {
        if self == Self::OtherWhenRepeated && life > 1 {
            states.iter_mut().for_each(|(_, _, hash)| *hash ^= 1);
        }
    }

    pub(crate) fn on_membership(self, committed: usize, membership: &mut log_proto::Membership) {
        if self == Self::DisjointQuorums && committed > 1 {
            membership.voters = vec![log_proto::VoterSet { ids: vec![101, 102, 103] }];
        }
    }

    /// What is asked in place of what is promised.
    pub(crate) fn on_promise(self, what: &mut What) {
        match (self, what) {
            (Self::ReadWithoutAsking, What::Read { how, .. }) if *how == How::Linearizable => *how = How::Local,
            (Self::LeaseEndsEarly, What::Grant { ttl_ms }) => *ttl_ms = *ttl_ms / 4 + 1,
            _ => {}
        }
    }

    pub(crate) fn on_watch(self, seen: &mut Seen) {
        match (self, seen) {
            (Self::WatchLosesEvents, Seen::Batch { revision, events }) if *revision % 5 == 0 => {
                events.pop();
            }
            (Self::ProgressTooEarly, Seen::Batch { revision, .. }) => *revision += 1,
            _ => {}
        }
    }
}

/// Another value in the first put of an entry's transaction, if it is one.
pub(crate) fn change_value(entry: &mut Bytes) {
    use log_proto::entry::Payload;
    let Ok(mut decoded) = log_proto::Entry::decode(entry.clone()) else { return };
    let Some(Payload::Command(command)) = &mut decoded.payload else { return };
    let Ok(store_core::Command::Txn(mut txn)) = store_node::codec::command_from_bytes(command.clone()) else { return };
    for op in &mut txn.success {
        if let store_api::Op::Put { value, .. } = op {
            *value = Bytes::from("planted");
        }
    }
    *command = store_node::codec::command_to_bytes(&store_core::Command::Txn(txn));
    *entry = decoded.encode_to_vec().into();
}
