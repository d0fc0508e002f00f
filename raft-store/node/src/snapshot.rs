//! The snapshots of this replica.
//!
//! A snapshot is a promise and no file: the state up to some entry is durable, so the log may be purged up to it. A
//! file is written only when a peer needs one, of the state as it is by then, and goes when it was sent. Those that
//! are received go when they are installed. So `snapshots/` is empty most of the time, and emptied at start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use kontiki_proto::raft::snapshot_part::Header;
use parking_lot::Mutex;

use crate::codec;
use crate::types::SnapshotMeta;

/// What a snapshot's meta stands for.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    /// The state of this replica, which has come as far as the meta says, or farther.
    State,
    /// What a peer sent.
    File(Arc<SnapshotFile>),
}

/// One snapshot file, of which nobody else knows the name. Removed from disk when nobody reads it any more.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) meta: SnapshotMeta,
    pub(crate) bytes: u64,
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// The directory of snapshots, and what the newest one stands for.
pub(crate) struct Snapshots {
    dir: PathBuf,
    current: Mutex<Option<SnapshotMeta>>,
    /// What is being sent, so that several peers behind share one file.
    outgoing: Mutex<Weak<SnapshotFile>>,
    next: AtomicU64,
}

impl Snapshots {
    pub(crate) fn open(dir: &Path) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        for left in fs::read_dir(dir)? {
            fs::remove_file(left?.path())?;
        }
        let (current, outgoing, next) = (Mutex::default(), Mutex::default(), AtomicU64::new(1));
        Ok(Arc::new(Self { dir: dir.into(), current, outgoing, next }))
    }

    pub(crate) fn current(&self) -> Option<SnapshotMeta> {
        self.current.lock().clone()
    }

    /// The state is durable up to here; answers the newest such promise.
    pub(crate) fn mark(&self, meta: SnapshotMeta) -> SnapshotMeta {
        let mut current = self.current.lock();
        match current.as_ref() {
            Some(held) if held.last_log_id >= meta.last_log_id => held.clone(),
            _ => current.insert(meta).clone(),
        }
    }

    /// A file name nobody uses, for a build or a transfer.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.dir.join(format!("{}.snap", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A finished, synced file.
    pub(crate) fn finished(&self, path: PathBuf, meta: SnapshotMeta) -> io::Result<Arc<SnapshotFile>> {
        let bytes = fs::metadata(&path)?.len();
        Ok(Arc::new(SnapshotFile { path, meta, bytes }))
    }

    /// The file being sent already, if it reaches as far as `meta`; one that `build` makes otherwise.
    pub(crate) fn outgoing(
        &self,
        meta: &SnapshotMeta,
        build: impl FnOnce() -> io::Result<Arc<SnapshotFile>>,
    ) -> io::Result<Arc<SnapshotFile>> {
        let mut outgoing = self.outgoing.lock();
        if let Some(file) = outgoing.upgrade().filter(|file| file.meta.last_log_id >= meta.last_log_id) {
            return Ok(file);
        }
        let file = build()?;
        *outgoing = Arc::downgrade(&file);
        Ok(file)
    }

    /// Nobody else gets this one, for it is damaged.
    pub(crate) fn discard(&self, damaged: &Arc<SnapshotFile>) {
        let mut outgoing = self.outgoing.lock();
        if std::ptr::eq(outgoing.as_ptr(), Arc::as_ptr(damaged)) {
            *outgoing = Weak::new();
        }
    }

    /// Bytes of the file being sent.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.outgoing.lock().upgrade().map_or(0, |file| file.bytes)
    }
}

/// What goes before a snapshot's bytes, with a vote.
pub(crate) fn to_header(meta: &SnapshotMeta, bytes: u64) -> Header {
    Header {
        vote: None,
        last: meta.last_log_id.as_ref().map(codec::log_id_to_proto),
        membership: Some(codec::stored_membership_to_proto(&meta.last_membership)),
        bytes,
    }
}

pub(crate) fn from_header(header: &Header) -> Result<SnapshotMeta, codec::DecodeError> {
    let membership = header.membership.clone().ok_or(codec::DecodeError::Missing("membership"))?;
    Ok(SnapshotMeta {
        last_log_id: header.last.map(codec::log_id_from_proto),
        last_membership: codec::stored_membership_from_proto(membership)?,
    })
}

/// Makes renames and creations in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, StoredMembership};

    fn meta(index: u64) -> SnapshotMeta {
        let last: LogId = codec::log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index });
        SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::default() }
    }

    fn built(snapshots: &Snapshots, index: u64) -> io::Result<Arc<SnapshotFile>> {
        let path = snapshots.unfinished();
        fs::write(&path, format!("state at {index}"))?;
        snapshots.finished(path, meta(index))
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).expect("listed").count()
    }

    #[test]
    fn a_promise_is_never_taken_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = Snapshots::open(dir.path()).expect("opened");
        assert_eq!(snapshots.current(), None);
        for (index, want) in [(5, 5), (9, 9), (7, 9)] {
            assert_eq!(snapshots.mark(meta(index)), meta(want));
            assert_eq!(snapshots.current(), Some(meta(want)));
        }
    }

    #[test]
    fn a_file_is_shared_while_it_is_sent_and_goes_then() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = Snapshots::open(dir.path()).expect("opened");
        let none = || -> io::Result<Arc<SnapshotFile>> { panic!("built again") };
        let first = snapshots.outgoing(&meta(5), || built(&snapshots, 6)).expect("built");
        let shared = snapshots.outgoing(&meta(6), none).expect("shared");
        assert!(Arc::ptr_eq(&first, &shared));
        assert_eq!((files(dir.path()), snapshots.disk_bytes()), (1, first.bytes));
        // Not for whom it reaches not far enough.
        let second = snapshots.outgoing(&meta(7), || built(&snapshots, 8)).expect("built");
        assert_eq!((second.meta.clone(), files(dir.path())), (meta(8), 2));
        drop((first, shared));
        assert_eq!(files(dir.path()), 1);
        snapshots.discard(&second);
        let third = snapshots.outgoing(&meta(7), || built(&snapshots, 8)).expect("built");
        assert!(!Arc::ptr_eq(&second, &third));
        // Of those that are not sent any more it is no matter which is damaged.
        snapshots.discard(&second);
        assert!(Arc::ptr_eq(&third, &snapshots.outgoing(&meta(7), none).expect("shared")));
        drop((second, third));
        assert_eq!((files(dir.path()), snapshots.disk_bytes()), (0, 0));
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("7.snap"), "half").expect("written");
        let snapshots = Snapshots::open(dir.path()).expect("opened");
        assert_eq!((files(dir.path()), snapshots.current()), (0, None));
    }
}
