//! The snapshot files of this replica: `snapshots/<term>-<index>-<n>.snap` with a `.meta` beside it.
//!
//! The state database is not synced on every apply, so a log may be purged only up to a snapshot
//! that is durable: data file, then meta file, each synced, renamed, and the directory synced. What
//! has no meta file is an unfinished build or transfer and is removed at start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kontiki_proto::raft::snapshot_part::Header;
use parking_lot::Mutex;
use prost::Message;

use crate::codec;
use crate::types::SnapshotMeta;

/// One snapshot file. Removed from disk when it is no longer the current one and nobody reads it.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) meta: SnapshotMeta,
    pub(crate) bytes: u64,
    keep: AtomicBool,
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Acquire) {
            fs::remove_file(meta_path(&self.path)).ok();
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The directory of snapshots.
pub(crate) struct Snapshots {
    dir: PathBuf,
    current: Mutex<Option<Arc<SnapshotFile>>>,
    next: AtomicU64,
}

impl Snapshots {
    pub(crate) fn open(dir: &Path) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        let current = newest(dir)?.map(Arc::new);
        remove_others(dir, current.as_deref())?;
        Ok(Arc::new(Self { dir: dir.into(), current: Mutex::new(current), next: AtomicU64::new(1) }))
    }

    pub(crate) fn current(&self) -> Option<Arc<SnapshotFile>> {
        self.current.lock().clone()
    }

    /// A file name nobody uses, for a build or a transfer.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.dir.join(format!("unfinished-{}.part", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A finished, synced file that is not (yet) the current snapshot; removed when dropped.
    pub(crate) fn received(&self, path: PathBuf, meta: SnapshotMeta) -> io::Result<Arc<SnapshotFile>> {
        let bytes = fs::metadata(&path)?.len();
        Ok(Arc::new(SnapshotFile { path, meta, bytes, keep: AtomicBool::new(false) }))
    }

    /// Makes `file` (synced) the current snapshot, durably, unless a newer one is; answers which one is.
    pub(crate) fn adopt(&self, file: &SnapshotFile) -> io::Result<Arc<SnapshotFile>> {
        let mut current = self.current.lock();
        match current.as_ref() {
            Some(held) if held.meta.last_log_id >= file.meta.last_log_id => Ok(held.clone()),
            _ => self.replace(&mut current, file),
        }
    }

    /// Makes `file` the current snapshot in place of one that is damaged, if that is still the current one.
    pub(crate) fn adopt_for(&self, damaged: &SnapshotFile, file: &SnapshotFile) -> io::Result<()> {
        let mut current = self.current.lock();
        match current.as_ref() {
            Some(held) if held.path == damaged.path => self.replace(&mut current, file).map(drop),
            _ => Ok(()),
        }
    }

    fn replace(&self, current: &mut Option<Arc<SnapshotFile>>, file: &SnapshotFile) -> io::Result<Arc<SnapshotFile>> {
        let path = self.dir.join(self.name(&file.meta));
        fs::rename(&file.path, &path)?;
        write_meta(&path, &file.meta, file.bytes)?;
        sync_dir(&self.dir)?;
        let adopted =
            Arc::new(SnapshotFile { path, meta: file.meta.clone(), bytes: file.bytes, keep: AtomicBool::new(true) });
        if let Some(old) = current.replace(adopted.clone()) {
            old.keep.store(false, Ordering::Release);
        }
        Ok(adopted)
    }

    fn name(&self, meta: &SnapshotMeta) -> String {
        let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.committed_leader_id().term, id.index()));
        format!("{term}-{index}-{}.snap", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn meta_path(path: &Path) -> PathBuf {
    path.with_extension("meta")
}

fn write_meta(path: &Path, meta: &SnapshotMeta, bytes: u64) -> io::Result<()> {
    let header = to_header(meta, bytes);
    let tmp = path.with_extension("meta.part");
    let mut file = File::create(&tmp)?;
    file.write_all(&header.encode_to_vec())?;
    file.sync_all()?;
    fs::rename(tmp, meta_path(path))
}

/// What goes before a snapshot's bytes, on disk and to a peer (who also gets a vote).
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

fn newest(dir: &Path) -> io::Result<Option<SnapshotFile>> {
    let mut found: Option<SnapshotFile> = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "meta")
            && let Some(file) = read_meta(&path)?
            && found.as_ref().is_none_or(|held| held.meta.last_log_id < file.meta.last_log_id)
        {
            found = Some(file);
        }
    }
    Ok(found)
}

fn read_meta(path: &Path) -> io::Result<Option<SnapshotFile>> {
    let header = Header::decode(fs::read(path)?.as_slice()).map_err(io::Error::other)?;
    let meta = from_header(&header).map_err(io::Error::other)?;
    let path = path.with_extension("snap");
    let complete = fs::metadata(&path).is_ok_and(|found| found.len() == header.bytes);
    Ok(complete.then_some(SnapshotFile { path, meta, bytes: header.bytes, keep: AtomicBool::new(true) }))
}

fn remove_others(dir: &Path, current: Option<&SnapshotFile>) -> io::Result<()> {
    let keep = current.map(|current| [current.path.clone(), meta_path(&current.path)]);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if keep.as_ref().is_none_or(|keep| !keep.contains(&path)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, StoredMembership};

    fn received(snapshots: &Snapshots, index: u64) -> Arc<SnapshotFile> {
        let path = snapshots.unfinished();
        fs::write(&path, format!("state at {index}")).expect("written");
        let id = kontiki_proto::log::LogId { term: 1, node: 1, index };
        let last: LogId = codec::log_id_from_proto(id);
        let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::default() };
        snapshots.received(path, meta).expect("exists")
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).expect("listed").count()
    }

    #[test]
    fn the_newest_finished_snapshot_survives_a_restart_and_nothing_else_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = Snapshots::open(dir.path()).expect("opened");
        assert!(snapshots.current().is_none());
        let old = snapshots.adopt(&received(&snapshots, 5)).expect("adopted");
        let new = snapshots.adopt(&received(&snapshots, 9)).expect("adopted");
        // Still being sent to a peer: its file stays until then.
        assert!(old.path.exists());
        drop(old);
        assert_eq!(files(dir.path()), 2);
        let kept = snapshots.adopt(&received(&snapshots, 7)).expect("adopted");
        assert_eq!(kept.meta, new.meta);
        fs::write(snapshots.unfinished(), "half").expect("written");
        let (meta, path) = (new.meta.clone(), new.path.clone());
        drop((kept, new, snapshots));

        let snapshots = Snapshots::open(dir.path()).expect("opened again");
        let current = snapshots.current().expect("still there");
        assert_eq!((&current.meta, &current.path), (&meta, &path));
        assert_eq!(files(dir.path()), 2);
    }
}
