//! RocksDB: the raft log and the state machine of one replica, on disk.
//!
//! Two databases in one data directory, so that a snapshot replaces the state without touching the
//! log: `log/` (entries, vote, committed, purged; fsynced before it is acknowledged) and `state/`
//! (versions by key and revision, events by revision, leases, dedup, revision, last-applied,
//! membership, compaction mark; one WriteBatch per applied group, recovered by replaying the log).
//! This API is synchronous and knows nothing of openraft: log ids and memberships are opaque bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use store_api::{Event, KeyValue, Revision, StoreError};
use store_core::{Command, Reply};

/// The raft log of one replica. Entries are opaque; each is kept with a checksum.
pub struct RaftLog {
    _private: (),
}

impl RaftLog {
    /// Opens or creates. Refuses a log that lost entries it had made durable (checksum, high-water mark).
    pub fn open(_dir: &Path) -> Result<Self, StoreError> {
        todo!()
    }
    /// Writes entries with consecutive indexes; durable only after [`Self::sync`].
    pub fn append(&self, _entries: &[(u64, Bytes)]) -> Result<(), StoreError> {
        todo!()
    }
    /// Makes everything written before durable (one fdatasync). An error is final: the process must end.
    pub fn sync(&self) -> Result<(), StoreError> {
        todo!()
    }
    pub fn read(&self, _range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StoreError> {
        todo!()
    }
    /// First and last index kept.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        todo!()
    }
    /// Removes `from` and everything after it; durable on return.
    pub fn truncate(&self, _from: u64) -> Result<(), StoreError> {
        todo!()
    }
    /// Removes everything up to and including `to`, remembering `last_purged` (opaque) first.
    pub fn purge(&self, _to: u64, _last_purged: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    pub fn last_purged(&self) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }
    /// Durable on return.
    pub fn save_vote(&self, _vote: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    pub fn vote(&self) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }
    /// Not synced by itself.
    pub fn save_committed(&self, _log_id: &[u8]) -> Result<(), StoreError> {
        todo!()
    }
    pub fn committed(&self) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }
}

/// One committed entry to apply.
pub struct ApplyEntry {
    /// Opaque log id.
    pub log_id: Bytes,
    pub payload: ApplyPayload,
}

pub enum ApplyPayload {
    Blank,
    Command(Command),
    /// Opaque membership.
    Membership(Bytes),
}

/// Of one applied entry.
pub struct Applied {
    pub reply: Reply,
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// The state machine of one replica.
pub struct StateMachine {
    _private: (),
}

impl StateMachine {
    pub fn open(_dir: &Path) -> Result<Self, StoreError> {
        todo!()
    }
    /// Applies a group of entries in one batch.
    pub fn apply(&self, _entries: &[ApplyEntry]) -> Result<Vec<Applied>, StoreError> {
        todo!()
    }
    /// Opaque log id and membership of the last applied entry.
    pub fn last_applied(&self) -> Result<(Option<Bytes>, Option<Bytes>), StoreError> {
        todo!()
    }
    pub fn revision(&self) -> Revision {
        todo!()
    }
    pub fn compacted(&self) -> Revision {
        todo!()
    }
    /// Version of `key` at `at` (newest when `None`), with the revision read at.
    pub fn get(&self, _key: &[u8], _at: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        todo!()
    }
    pub fn range(
        &self,
        _request: &store_api::RangeRequest,
        _at: Option<Revision>,
    ) -> Result<store_api::RangeReply, StoreError> {
        todo!()
    }
    /// Events with `after < revision <= until`, whole revisions, at most about `max_events`; `Compacted` below the mark.
    pub fn events(
        &self,
        _after: Revision,
        _until: Revision,
        _max_events: usize,
    ) -> Result<Vec<(Revision, Vec<Event>)>, StoreError> {
        todo!()
    }
    pub fn leases(&self) -> Result<Vec<store_core::Lease>, StoreError> {
        todo!()
    }
    /// Rolling hash of everything applied.
    pub fn state_hash(&self) -> u64 {
        todo!()
    }
    pub fn disk_bytes(&self) -> u64 {
        todo!()
    }
    /// Removes versions and events that compaction made unreachable; called in the background, in small steps.
    /// Answers whether there is more to do.
    pub fn collect_garbage(&self, _max_keys: usize) -> Result<bool, StoreError> {
        todo!()
    }
    /// Writes a consistent snapshot to one file (header with format version and hashes, then the data), synced.
    pub fn build_snapshot(&self, _file: &Path) -> Result<SnapshotInfo, StoreError> {
        todo!()
    }
    /// Replaces the whole state by a snapshot file; a crash at any step leaves the old or the new state.
    pub fn install_snapshot(&self, _file: &Path) -> Result<SnapshotInfo, StoreError> {
        todo!()
    }
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub file: PathBuf,
    pub log_id: Option<Bytes>,
    pub membership: Option<Bytes>,
    pub revision: Revision,
    pub bytes: u64,
}
