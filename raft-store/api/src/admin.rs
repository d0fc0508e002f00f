//! What an operator asks of a replica and its cluster.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::{NodeId, Revision, StoreError};

/// What of a member is to be changed; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberUpdate {
    pub peer_addr: Option<String>,
    pub name: Option<String>,
    pub client_urls: Option<Vec<String>>,
}

/// A hash of the history up to a revision. Replicas that have the same of it have the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryHash {
    pub hash: u64,
    /// The revision hashed up to.
    pub revision: Revision,
    /// What was forgotten when it was hashed.
    pub compacted: Revision,
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub member: NodeId,
    pub kind: AlarmKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmKind {
    /// Its disk is nearly full.
    NoSpace,
    /// It has other data than the others, or cannot read what it has.
    Corrupt,
}

/// A consistent copy of one replica's state, removed when dropped.
#[derive(Debug)]
pub struct SnapshotCopy {
    pub path: PathBuf,
    pub bytes: u64,
    pub revision: Revision,
}

impl Drop for SnapshotCopy {
    fn drop(&mut self) {
        // What stays is removed when the replica starts again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The administration of a replica and of the cluster it belongs to. Members may be changed through any replica.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// An id that was never used, for a replica that is to join under it.
    async fn new_member_id(&self) -> Result<NodeId, StoreError>;

    /// Changes where a member is reached, or what it says of itself.
    async fn member_update(&self, id: NodeId, update: MemberUpdate) -> Result<(), StoreError>;

    /// Makes a learner that has caught up a voter, or refuses with [`crate::MemberError`].
    async fn member_promote(&self, id: NodeId) -> Result<(), StoreError>;

    /// Removes a replica, which then stops. `Invalid` when too few of the voters that would be left answer.
    async fn member_remove(&self, id: NodeId) -> Result<(), StoreError>;

    /// Hands leadership over to a voter; `NotLeader` where this replica does not lead.
    async fn move_leader(&self, to: NodeId) -> Result<(), StoreError>;

    /// What is wrong now with members, this one or others, as far as this one knows. They go by themselves.
    fn alarms(&self) -> Vec<Alarm>;

    /// The hash of this replica's history up to a revision, or up to the newest it has applied.
    async fn hash_at(&self, revision: Option<Revision>) -> Result<HistoryHash, StoreError>;

    /// A copy of this replica's state as it is now.
    async fn snapshot(&self) -> Result<SnapshotCopy, StoreError>;

    /// Removes from this replica's disk what compaction made unreachable, now instead of little by little.
    async fn collect_garbage(&self) -> Result<(), StoreError>;

    /// Gives the space of what was removed back to the file system. Reads and writes go on.
    async fn defragment(&self) -> Result<(), StoreError>;
}
