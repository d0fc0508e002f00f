//! The state machine of one replica.
//!
//! `state/CURRENT` names the directory of the database in use, so that a snapshot is installed beside it
//! and switched to in one step ([`generation`]). What every entry looks at is kept in memory ([`working`]);
//! a group of entries is applied over it and written in one batch ([`group`]). Readers see what is
//! published after that batch ([`read`]). What compaction made unreachable is removed later ([`garbage`]).

mod contents;
mod garbage;
mod generation;
mod group;
mod hash_kv;
#[cfg(test)]
mod install_tests;
pub(crate) mod keys;
pub(crate) mod migrate;
mod pace;
pub(crate) mod packed;
mod planted;
mod read;
pub(crate) mod records;
mod whole;
mod working;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rocksdb::Cache;
use store_api::{Event, HistoryHash, KeyValue, LeaseId, RangeReply, RangeRequest, Revision, StoreError};

use crate::snapshot::{self, Header};
use crate::{Applied, ApplyEntry, Durable, Events, SnapshotInfo, dir, fatal, options, room};
use generation::{Generation, Pointer};
use group::Group;
use working::Working;

pub(crate) use records::Position;

/// Format 4 had no packs of records ([`migrate`]); format 3 had a write-ahead log of its own besides, which an older
/// version would go on with; formats 1 and 2 began at revision 0.
const FORMATS: dir::Formats =
    dir::Formats { newest: "kontiki state 5", older: &["kontiki state 4", "kontiki state 3"] };

/// The state machine of one replica.
pub struct StateMachine {
    current: RwLock<Arc<Generation>>,
    working: Mutex<Working>,
    pointer: Mutex<Pointer>,
    /// Of all generations.
    blocks: Cache,
    dir: dir::Claimed,
}

/// What readers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) hash: u64,
}

/// The steps of [`StateMachine::install_snapshot`] between which a crash is survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstallStep {
    Begun,
    Loading,
    Loaded,
    Switched,
    Done,
}

impl StateMachine {
    /// Bytes of blocks kept in memory, read ones and what finds them, unless somebody says otherwise. Every write reads
    /// the version before it: with a million keys of 256 bytes and a third of this, writes are half as fast.
    pub const BLOCK_CACHE_BYTES: usize = 96 << 20;

    /// Opens or creates `state/` in the data directory. What a crash left of a snapshot half installed is
    /// removed. Refuses a state that is older than what was made durable.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_holding(dir, Self::BLOCK_CACHE_BYTES)
    }

    /// [`Self::open`], with so many bytes of blocks in memory.
    pub fn open_holding(dir: &Path, blocks: usize) -> Result<Self, StoreError> {
        let blocks = Cache::new_lru_cache(blocks);
        let mut claimed = dir::claim(&dir.join("state"), &FORMATS)?;
        let mut pointer = Pointer::open(&claimed.path)?;
        generation::remove_others(&claimed.path, &pointer)?;
        let generation = Generation::open(&claimed.path, pointer.generation, &blocks)?;
        if claimed.older.is_some() {
            migrate::records(generation.db())?;
        }
        let mut working = Working::load(generation.db())?;
        planted::take_position_apart(&generation, &mut working.position)?;
        if working.position.next_index < pointer.durable_index {
            return Err(fatal(
                claimed.path.display(),
                format_args!(
                    "the state ends before entry {}, and was durable up to entry {}. This replica must be replaced by a new \
                     one",
                    working.position.next_index, pointer.durable_index
                ),
            ));
        }
        if claimed.older.is_some() {
            // What was recovered from the write-ahead log is in table files then, and nobody looks for one any more.
            generation.db().flush().map_err(|e| fatal("migrating the state failed", e))?;
            pointer.durable_index = working.position.next_index;
            pointer.save(&claimed.path)?;
            claimed.migrated(&FORMATS)?;
        }
        generation.publish(&working.position);
        Ok(Self {
            current: RwLock::new(Arc::new(generation)),
            working: Mutex::new(working),
            pointer: Mutex::new(pointer),
            blocks,
            dir: claimed,
        })
    }

    /// Applies a group of entries in one batch. An error is final: nothing more can be applied. An entry that
    /// does not follow the one before is one.
    ///
    /// Not durable: after a crash, of the process alone too, the log is applied again from [`Self::last_applied`].
    pub fn apply(&self, entries: &[ApplyEntry]) -> Result<Vec<Applied>, StoreError> {
        let mut working = self.working.lock();
        working.check()?;
        let generation = self.generation();
        match apply_group(&generation, &mut working, entries) {
            Ok(applied) => {
                generation.publish(&working.position);
                Ok(applied)
            }
            Err(failed) => {
                working.fail(&failed, generation.db());
                Err(failed.error)
            }
        }
    }

    /// Why nothing can be applied any more, when that is because the disk does not hold what was written: opened again,
    /// it would be so again.
    pub fn damage(&self) -> Option<String> {
        self.working.lock().damage()
    }

    /// For a state that a new cluster begins with: jumps ahead to `revision` and forgets the history before it, so
    /// that whoever watched or remembers a revision of the old cluster begins anew. Not durable, as [`Self::apply`].
    /// `Invalid` when it would go back.
    pub fn jump_to(&self, revision: Revision) -> Result<(), StoreError> {
        let mut working = self.working.lock();
        working.check()?;
        let generation = self.generation();
        if revision <= working.position.revision {
            let now = working.position.revision;
            return Err(StoreError::Invalid(format!("the revision is {now} and cannot become {revision}")));
        }
        (working.position.revision, working.position.compacted) = (revision, revision);
        let mut batch = rocksdb::WriteBatch::default();
        working.save_position(&mut batch);
        generation.db().write_opt(batch, &options::unlogged()).map_err(|e| fatal("writing the state failed", e))?;
        generation.publish(&working.position);
        Ok(())
    }

    /// Opaque log id and membership of the last applied entry.
    pub fn last_applied(&self) -> Result<(Option<Bytes>, Option<Bytes>), StoreError> {
        let working = self.working.lock();
        Ok((working.position.log_id.clone(), working.position.membership.clone()))
    }

    /// The newest node id given out.
    pub fn last_node_id(&self) -> u64 {
        self.working.lock().position.last_node_id
    }

    /// Nodes that were members once and are no more.
    pub fn removed_nodes(&self) -> BTreeSet<u64> {
        self.working.lock().removed.clone()
    }

    /// Index of the entry that must be applied next.
    pub fn next_index(&self) -> u64 {
        self.working.lock().position.next_index
    }

    pub fn revision(&self) -> Revision {
        self.published().revision
    }

    pub fn compacted(&self) -> Revision {
        self.published().compacted
    }

    /// The revision, and the rolling hash of everything applied up to it.
    pub fn revision_and_hash(&self) -> (Revision, u64) {
        let Published { revision, hash, .. } = self.published();
        (revision, hash)
    }

    /// Revision and hash after the entry at `index`, to be compared with those of other replicas. `None` when it is
    /// not applied yet, or too long ago.
    pub fn state_at(&self, index: u64) -> Option<(Revision, u64)> {
        self.working.lock().passed(index)
    }

    /// Version of `key` at `at` (newest when `None`), with the revision read at.
    pub fn get(&self, key: &[u8], at: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        read::get(&self.generation(), key, at)
    }

    /// Keys at `at` (newest when `None`); `request.at` is not looked at.
    pub fn range(&self, request: &RangeRequest, at: Option<Revision>) -> Result<RangeReply, StoreError> {
        read::range(&self.generation(), request, at)
    }

    /// Events with `after < revision <= until`, whole revisions, at most about `max_events` (and 32 MiB);
    /// `Compacted` below the mark. What is not applied yet is left out.
    pub fn events(
        &self,
        after: Revision,
        until: Revision,
        max_events: usize,
    ) -> Result<Vec<(Revision, Vec<Event>)>, StoreError> {
        Ok(self.events_in(after, until, (b"", b""), max_events)?.revisions)
    }

    /// [`Self::events`] of the keys of `[start, end)`; an empty `end` is the end of the key space.
    pub fn events_in(
        &self,
        after: Revision,
        until: Revision,
        range: (&[u8], &[u8]),
        max_events: usize,
    ) -> Result<Events, StoreError> {
        read::events(&self.generation(), after, until, range, max_events)
    }

    /// All leases with all their keys.
    pub fn leases(&self) -> Result<Vec<store_core::Lease>, StoreError> {
        Ok(self.working.lock().leases.values().cloned().collect())
    }

    /// The leases and their times to live, in milliseconds.
    pub fn lease_ttls(&self) -> Vec<(LeaseId, u64)> {
        self.working.lock().leases.values().map(|lease| (lease.id, lease.ttl_ms)).collect()
    }

    /// How often each of these leases was renewed; those that do not exist are left out.
    pub fn lease_renewals(&self, ids: &[LeaseId]) -> Vec<(LeaseId, u64)> {
        let working = self.working.lock();
        ids.iter().filter_map(|id| Some((*id, working.leases.get(id)?.renewals))).collect()
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Option<store_core::Lease> {
        self.working.lock().leases.get(&id).cloned()
    }

    pub fn lease_ids(&self) -> Vec<LeaseId> {
        self.working.lock().leases.keys().copied().collect()
    }

    /// Hash of every version up to a revision (the newest when `None`) that compaction has left, whether what it
    /// has not left is removed already or not.
    pub fn hash_at(&self, at: Option<Revision>) -> Result<HistoryHash, StoreError> {
        hash_kv::hash(&self.generation(), at)
    }

    /// Hash of what the keys hold at a revision, read from the disk with all that takes.
    pub fn contents_hash(&self, at: Revision) -> Result<u64, StoreError> {
        contents::hash(&self.generation(), at)
    }

    /// Hash of all that replicas agree about after the last entry applied when `settled` is called, read from the disk
    /// with all that takes. What is applied after that call is not in it.
    pub fn whole_hash(&self, settled: impl FnOnce()) -> Result<u64, StoreError> {
        whole::hash(&self.generation(), settled)
    }

    /// Rewrites the files without what was removed from them. Reads and writes go on meanwhile.
    pub fn compact_files(&self) {
        self.generation().db().compact_range::<&[u8], &[u8]>(None, None);
    }

    pub fn disk_bytes(&self) -> u64 {
        dir::disk_bytes(&self.dir.path)
    }

    /// Removes versions and events that compaction made unreachable; called in the background, in small steps.
    /// Answers whether there is more to do.
    pub fn collect_garbage(&self, max_keys: usize) -> Result<bool, StoreError> {
        garbage::collect(&self.generation(), max_keys)
    }

    /// Makes what is applied by now durable, so that the log may be purged up to there; more is applied meanwhile.
    /// `NoSpace` when that cannot be written down; the state goes on then.
    pub fn make_durable(&self) -> Result<Durable, StoreError> {
        // Held first and throughout, so that no snapshot takes the state's place in between.
        let mut pointer = self.pointer.lock();
        let position = {
            let working = self.working.lock();
            working.check()?;
            working.position.clone()
        };
        room::check().map_err(|e| dir::write_failed(&self.dir.path, e))?;
        self.generation().db().flush().map_err(|e| fatal("making the state durable failed", e))?;
        if pointer.durable_index < position.next_index {
            let next = Pointer { durable_index: position.next_index, ..*pointer };
            next.save(&self.dir.path)?;
            *pointer = next;
        }
        Ok(Durable { log_id: position.log_id, membership: position.membership })
    }

    /// Writes a consistent snapshot to one file (header with format version and hashes, then the data), synced.
    /// `NoSpace` when the file does not fit on the disk; the state goes on then.
    pub fn build_snapshot(&self, file: &Path) -> Result<SnapshotInfo, StoreError> {
        self.working.lock().check()?;
        Ok(snapshot::build(self.generation().db(), file)?.info)
    }

    /// Replaces the whole state by a snapshot file; a crash at any step leaves the old or the new state.
    ///
    /// `Invalid` when the file is damaged or of another format; then nothing has changed.
    pub fn install_snapshot(&self, file: &Path) -> Result<SnapshotInfo, StoreError> {
        self.install_observed(file, &mut |_| Ok(()))
    }

    pub(crate) fn install_observed(
        &self,
        file: &Path,
        observe: &mut dyn FnMut(InstallStep) -> Result<(), StoreError>,
    ) -> Result<SnapshotInfo, StoreError> {
        let mut pointer = self.pointer.lock();
        observe(InstallStep::Begun)?;
        let number = pointer.generation + 1;
        let generation = Generation::create(&self.dir.path, number, &self.blocks)?;
        let loaded = self.load_snapshot(&generation, file, observe);
        let (built, working) = loaded.inspect_err(|_| generation.retire())?;
        observe(InstallStep::Loaded)?;

        let mut current = self.working.lock();
        let next = Pointer { generation: number, durable_index: working.position.next_index };
        next.save(&self.dir.path)?;
        observe(InstallStep::Switched)?;
        generation.publish(&working.position);
        let before = std::mem::replace(&mut *self.current.write(), Arc::new(generation));
        (*current, *pointer) = (working, next);
        before.retire();
        observe(InstallStep::Done)?;
        Ok(built)
    }

    fn load_snapshot(
        &self,
        generation: &Generation,
        file: &Path,
        observe: &mut dyn FnMut(InstallStep) -> Result<(), StoreError>,
    ) -> Result<(SnapshotInfo, Working), StoreError> {
        let read = snapshot::load(file, generation.db(), &mut || observe(InstallStep::Loading))?;
        let working = Working::load(generation.db())?;
        match (Header { position: working.position.clone() }) == read.header {
            true => Ok((read.info, working)),
            false => Err(StoreError::Invalid(format!("{}: its header and its content differ", file.display()))),
        }
    }

    fn generation(&self) -> Arc<Generation> {
        self.current.read().clone()
    }

    fn published(&self) -> Published {
        self.generation().published()
    }
}

/// Why a group was not applied.
struct Failed {
    error: StoreError,
    /// What was written before cannot be read.
    damaged: bool,
}

fn apply_group(generation: &Generation, working: &mut Working, entries: &[ApplyEntry]) -> Result<Vec<Applied>, Failed> {
    let mut group = Group::new(generation, working);
    for entry in entries {
        if let Err(error) = group.apply(entry) {
            return Err(Failed { error, damaged: group.is_unreadable() });
        }
    }
    let (batch, applied) = group.finish();
    generation.db().write_opt(batch, &options::unlogged()).map_err(|error| Failed {
        // So it says also when it found damage while it merged files.
        damaged: error.kind() == rocksdb::ErrorKind::Corruption,
        error: fatal("writing the state failed", error),
    })?;
    planted::keep_position_apart(generation, &working.position).map_err(|error| Failed { error, damaged: false })?;
    Ok(applied)
}
