//! The raft log and the state machine of one replica, on disk.
//!
//! Apart in one data directory, so that a snapshot replaces the state without touching the log: `log/`
//! (files of records: entries, vote, committed, purged; fsynced before it is acknowledged) and `state/`
//! (a RocksDB database: versions by key and revision, events by revision, leases, dedup, revision, last-applied,
//! membership, compaction mark; one WriteBatch per applied group). The state has no write-ahead log of
//! its own: the raft log is one, and is kept until the state is durable without it.
//! This API is synchronous and knows nothing of openraft: log ids and memberships are opaque bytes.
//!
//! Errors: [`StoreError::Fatal`] is a failed or damaged disk. It is final: the process must end, and
//! nothing may be tried again (after a failed fsync the kernel calls lost pages clean). A directory in use, of
//! a newer format, or of another user is [`StoreError::Invalid`] when it is opened: nothing was touched, and nothing
//! need be wrong with it.

mod dir;
mod log;
mod options;
pub mod planted;
pub mod room;
mod snapshot;
mod state;

use std::path::PathBuf;

use bytes::Bytes;
use store_api::{Event, Revision, StoreError};
use store_core::{Command, Reply};

pub use log::RaftLog;
pub use snapshot::{verify_snapshot, verify_snapshot_in};
pub use state::StateMachine;

/// One committed entry to apply.
pub struct ApplyEntry {
    /// Its place in the log, from 0; it follows the one applied before.
    pub index: u64,
    /// Opaque log id.
    pub log_id: Bytes,
    pub payload: ApplyPayload,
}

pub enum ApplyPayload {
    Blank,
    Command(Command),
    Membership {
        /// Opaque.
        membership: Bytes,
        /// The node ids in it. Those that are in it no more are remembered for ever.
        members: Vec<u64>,
    },
}

/// Of one applied entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub reply: Reply,
    /// The revision after it.
    pub revision: Revision,
    /// What it wrote, at that revision; empty when the revision did not grow.
    pub events: Vec<Event>,
}

/// Part of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Everything asked for up to here is in it.
    pub upto: Revision,
    /// Whole revisions, in order, those without any wanted event left out.
    pub revisions: Vec<(Revision, Vec<Event>)>,
}

/// Up to where the state is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    pub log_id: Option<Bytes>,
    pub membership: Option<Bytes>,
}

/// What a snapshot file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub file: PathBuf,
    pub log_id: Option<Bytes>,
    pub membership: Option<Bytes>,
    pub revision: Revision,
    pub bytes: u64,
}

/// A failure of the disk or of what lies on it.
fn fatal(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> StoreError {
    StoreError::Fatal(format!("{what}: {cause}"))
}
