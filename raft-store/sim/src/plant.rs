//! Bugs planted on purpose: a checker that has not caught one is not to be trusted.
//!
//! Most are bugs of the running replicas: in their code ([`store_engine::planted`]), their disk, or the wire between
//! them. A few cannot be: openraft, or the other replicas, would not let them happen. There, what a replica says of
//! itself is falsified before the checkers get it.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_proto::log as log_proto;
use kontiki_proto::raft as proto;
use kontiki_proto::raft::append_response::Result as Appended;
use prost::Message as _;
use store_api::NodeId;
use store_engine::planted::Bug;
use store_node::Inspection;

use crate::facts::{Entry, Fact, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// In the code of every replica.
    Code(Bug),

    // On the wire.
    /// S1: a leader calls itself by another's name.
    Impostor,
    /// S2: an entry arrives at one replica as another one.
    OtherEntry,
    /// S5 (M18): a leader takes an answer for one to all that it sent, so any prefix has a quorum.
    AnyPrefix,
    /// S21: a partition that never heals.
    NeverHeal,

    // On the disk.
    /// S5, S11 (M1): what is appended is acknowledged before it is durable.
    AckBeforeSync,
    /// S3, S6, S8, S9, C1 (M2, M3, M17): a sync does nothing, and what a power cut takes away is not missed.
    SyncIsNoSync,

    // In what the checkers are told.
    /// S8: the committed index goes back.
    CommitGoesBack,
    /// S14: the state jumps, and no snapshot took its place.
    JumpWithoutSnapshot,
    /// S16 (M16): a voter that lost its data votes.
    WipedVotes,
    /// S17: two voters are exchanged at once.
    DisjointQuorums,
}

impl Plant {
    /// The bug that is in the code.
    pub(crate) fn bug(self) -> Option<Bug> {
        match self {
            Self::Code(bug) => Some(bug),
            _ => None,
        }
    }

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

    pub(crate) fn on_inspection(self, now: &mut Inspection) {
        match self {
            Self::JumpWithoutSnapshot => now.snapshot = None,
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

    pub(crate) fn on_membership(self, committed: usize, membership: &mut log_proto::Membership) {
        if self == Self::DisjointQuorums && committed > 1 {
            membership.voters = vec![log_proto::VoterSet { ids: vec![101, 102, 103] }];
        }
    }
}

/// What each has been sent last, by a leader that takes every answer for one to that.
#[derive(Default)]
pub(crate) struct Miscount(BTreeMap<(NodeId, NodeId), log_proto::LogId>);

impl Miscount {
    /// What the other end hears in place of what was said.
    pub(crate) fn hear(&mut self, from: NodeId, to: NodeId, message: &mut Message) {
        match message {
            Message::Append(append) => {
                let last = append.entries.last().and_then(Entry::decode).map(|entry| entry.place);
                if let Some(last) = last {
                    let id = log_proto::LogId { term: last.term, node: last.leader, index: last.index };
                    self.0.insert((from, to), id);
                }
            }
            Message::Appended(response) => {
                let sent = self.0.get(&(to, from));
                if let (Some(Appended::Accepted(accepted)), Some(sent)) = (&mut response.result, sent) {
                    accepted.log_id = Some(*sent);
                }
            }
            Message::Vote(_) | Message::Voted(_) => {}
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
