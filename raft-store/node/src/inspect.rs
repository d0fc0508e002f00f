//! What a replica holds and believes, for whoever checks whether replicas keep their promises to each other.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use openraft::ServerState;
use store_api::{KeyValue, NodeId, RangeRequest, ReadAt, Revision, StoreError};

use crate::RaftStore;
use crate::state_machine::applied_state;
use crate::types::{LogId, Vote};

/// One entry's place in the log, with the leader that put it there. Ordered like raft orders logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub term: u64,
    pub leader: NodeId,
    pub index: u64,
}

impl Place {
    fn of(id: LogId) -> Self {
        let leader = id.committed_leader_id();
        Self { term: leader.term, leader: leader.node_id, index: id.index() }
    }
}

/// Whom a replica follows, or wants to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise {
    pub term: u64,
    pub leader: NodeId,
    /// A quorum promised the same.
    pub granted: bool,
}

impl Promise {
    fn of(vote: Vote) -> Self {
        let leader = vote.leader_id();
        Self { term: leader.term, leader: leader.node_id, granted: vote.is_committed() }
    }
}

/// One replica at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub id: NodeId,
    pub incarnation: String,
    pub leads: bool,
    pub promise: Promise,
    pub last_log: Option<u64>,
    pub committed: Option<Place>,
    /// Of openraft, which may be a little behind the state.
    pub applied: Option<Place>,
    pub snapshot: Option<Place>,
    pub purged: Option<Place>,
    /// What the state says of itself.
    pub state: Option<Place>,
    pub revision: Revision,
    pub compacted: Revision,
    pub hash: u64,
    /// One set of voters, or two while a change is under way; committed or not.
    pub voters: Vec<BTreeSet<NodeId>>,
    pub members: BTreeSet<NodeId>,
    pub removed: BTreeSet<NodeId>,
    pub last_node_id: NodeId,
    /// How often all that it holds was read since it started.
    pub scans: u64,
    /// It serves no more.
    pub fenced: bool,
}

impl RaftStore {
    /// What this replica holds and believes now.
    pub fn inspect(&self) -> Inspection {
        let (replica, engine) = (&self.replica, &self.replica.effects.engine);
        let metrics = replica.metrics();
        let membership = metrics.membership_config.membership();
        let (revision, hash) = engine.revision_and_hash();
        Inspection {
            id: replica.id(),
            incarnation: replica.identity.incarnation.clone(),
            leads: metrics.state == ServerState::Leader,
            promise: Promise::of(metrics.vote),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(Place::of),
            applied: metrics.last_applied.map(Place::of),
            snapshot: metrics.snapshot.map(Place::of),
            purged: metrics.purged.map(Place::of),
            state: applied_state(engine).ok().and_then(|(last, _)| last).map(Place::of),
            revision,
            compacted: engine.compacted(),
            hash,
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, _)| *id).collect(),
            removed: engine.removed_nodes(),
            last_node_id: engine.last_node_id(),
            scans: replica.scrub.scans(),
            fenced: replica.diverged.load(Ordering::Acquire),
        }
    }

    /// All that its keys hold now, whoever is asked.
    pub fn contents(&self) -> Result<Vec<KeyValue>, StoreError> {
        let all = RangeRequest::prefix(b"", ReadAt::Local);
        Ok(self.replica.effects.engine.range(&all, None)?.kvs)
    }

    /// Revision and hash of the state after the entry at `index`, as long as they are remembered.
    pub fn state_at(&self, index: u64) -> Option<(Revision, u64)> {
        self.replica.effects.engine.state_at(index)
    }
}
