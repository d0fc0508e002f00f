//! The raft log of one replica.
//!
//! `e` + index: one entry. `v`: vote, `c`: committed, `p`: purged, `s`: the last synced write.
//! Every value begins with a checksum over its key and content, so an entry in another's place is
//! noticed too. Synced writes are counted in a mark outside the database, see [`mark`].

mod mark;
mod record;

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{DB, WriteBatch};
use store_api::StoreError;

use crate::{dir, fatal, options};
use mark::Mark;
use record::Synced;

const FORMAT: &str = "kontiki raft log 1";
const VOTE: &[u8] = b"v";
const COMMITTED: &[u8] = b"c";
const PURGED: &[u8] = b"p";
const SYNCED: &[u8] = b"s";

/// The raft log of one replica. Entries are opaque; each is kept with a checksum.
pub struct RaftLog {
    db: DB,
    /// Held during synced writes, which are numbered.
    mark: Mutex<Mark>,
    ends: Mutex<Ends>,
    _dir: dir::Claimed,
}

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    /// First and last index kept.
    kept: Option<(u64, u64)>,
    purged: Option<u64>,
}

impl Ends {
    /// The last index ever held, as far as it was not truncated.
    fn last(&self) -> Option<u64> {
        self.kept.map(|(_, last)| last).max(self.purged)
    }

    /// The only index that may be appended next; any when the log never held one.
    fn next(&self) -> Option<u64> {
        self.last().map(|last| last + 1)
    }
}

impl RaftLog {
    /// Opens or creates `log/` in the data directory. Refuses a log that lost entries it had made durable
    /// (checksum, high-water mark); drops a torn tail beyond the mark. Reads the whole log once.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let claimed = dir::claim(&dir.join("log"), FORMAT)?;
        let database = claimed.path.join("db");
        let existed = database.join("CURRENT").exists();
        let mut mark = Mark::open(&claimed.path.join("MARK"), existed)?;
        let db = options::open(&options::log(), &database)?;
        dir::sync_parent(&database).map_err(|e| fatal(database.display(), e))?;
        let ends = recover(&db, &mut mark)?;
        Ok(Self { db, mark: Mutex::new(mark), ends: Mutex::new(ends), _dir: claimed })
    }

    /// Writes entries with consecutive indexes; durable only after [`Self::sync`], readable on return.
    pub fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), StoreError> {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(()) };
        let mut ends = self.ends.lock();
        let mut batch = WriteBatch::with_capacity_bytes(entries.iter().map(|(_, e)| e.len() + 32).sum());
        let mut sealed = Vec::new();
        for (next, (index, entry)) in (ends.next().unwrap_or(*first)..).zip(entries) {
            if *index != next {
                return Err(StoreError::Invalid(format!("log index {index} follows, not {next}")));
            }
            let key = record::entry_key(*index);
            record::seal(&key, entry, &mut sealed);
            batch.put(key, &sealed);
        }
        self.db.write(batch).map_err(failed_write)?;
        ends.kept = Some((ends.kept.map_or(*first, |(kept, _)| kept), *last));
        Ok(())
    }

    /// Makes everything written before durable (one fdatasync). An error is final: the process must end.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.write_synced(WriteBatch::default())
    }

    /// Entries of the range that are kept, each checked.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.read_some(range, usize::MAX)
    }

    /// [`Self::read`], as of one moment, up to and including the entry with which `max_bytes` are reached.
    pub fn read_some(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let (lower, upper) = (record::entry_key(range.start), record::entry_key(range.end));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut iterator = self.db.raw_iterator_opt(options::scan(&lower, &upper));
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item().filter(|_| bytes < max_bytes) {
            let entry = record::open(key, value)?;
            bytes += entry.len();
            entries.push((record::entry_index(key)?, Bytes::copy_from_slice(entry)));
            iterator.next();
        }
        iterator.status().map_err(failed_read)?;
        Ok(entries)
    }

    /// First and last index kept.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        self.ends.lock().kept
    }

    /// Removes `from` and everything after it; durable on return.
    pub fn truncate(&self, from: u64) -> Result<(), StoreError> {
        let mut mark = self.mark.lock();
        let mut ends = self.ends.lock();
        let Some((first, last)) = ends.kept.filter(|(_, last)| from <= *last) else { return Ok(()) };
        let after = Ends { kept: (from > first).then(|| (first, from - 1)), ..*ends };
        let mut batch = WriteBatch::default();
        batch.delete_range(record::entry_key(from.max(first)), record::entry_key(last + 1));
        self.write_numbered(&mut mark, batch, after)?;
        *ends = after;
        Ok(())
    }

    /// Removes everything up to and including `to`, remembering `last_purged` (opaque) in the same batch;
    /// durable on return. `to` may lie beyond the end, when a snapshot has replaced the log.
    pub fn purge(&self, to: u64, last_purged: &[u8]) -> Result<(), StoreError> {
        let mut mark = self.mark.lock();
        let mut ends = self.ends.lock();
        if ends.purged.is_some_and(|purged| to < purged) {
            return Err(StoreError::Invalid(format!("purge to {to}, though {:?} was purged", ends.purged)));
        }
        let mut after = Ends { purged: Some(to), ..*ends };
        let mut batch = WriteBatch::default();
        put_sealed(&mut batch, PURGED, &record::encode_purged(to, last_purged));
        if let Some((first, last)) = ends.kept.filter(|(first, _)| *first <= to) {
            batch.delete_range(record::entry_key(first), record::entry_key(to.min(last) + 1));
            after.kept = (last > to).then(|| (to + 1, last));
        }
        self.write_numbered(&mut mark, batch, after)?;
        *ends = after;
        Ok(())
    }

    pub fn last_purged(&self) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.get(PURGED)? else { return Ok(None) };
        let (_, opaque) = record::decode_purged(&value)?;
        Ok(Some(value.slice_ref(opaque)))
    }

    /// Durable on return, with everything appended before.
    pub fn save_vote(&self, vote: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        put_sealed(&mut batch, VOTE, vote);
        self.write_synced(batch)
    }

    pub fn vote(&self) -> Result<Option<Bytes>, StoreError> {
        self.get(VOTE)
    }

    /// Not synced by itself, but never there without what was appended before.
    pub fn save_committed(&self, log_id: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        put_sealed(&mut batch, COMMITTED, log_id);
        self.db.write(batch).map_err(failed_write)
    }

    pub fn committed(&self) -> Result<Option<Bytes>, StoreError> {
        self.get(COMMITTED)
    }

    /// Bytes its files take.
    pub fn disk_bytes(&self) -> u64 {
        dir::disk_bytes(&self._dir.path)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(&self.db, key)
    }

    fn write_synced(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut mark = self.mark.lock();
        let ends = *self.ends.lock();
        self.write_numbered(&mut mark, batch, ends)
    }

    /// One write, made durable with everything before it, that says its number and where the log then ends.
    fn write_numbered(&self, mark: &mut Mark, mut batch: WriteBatch, ends: Ends) -> Result<(), StoreError> {
        let synced = Synced { writes: mark.writes() + 1, last: ends.last() };
        put_sealed(&mut batch, SYNCED, &synced.encode());
        self.db.write_opt(batch, &options::synced()).map_err(failed_write)?;
        mark.set(synced.writes)
    }
}

fn get(db: &DB, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let value = db.get_pinned(key).map_err(failed_read)?;
    value.map(|value| record::open(key, &value).map(Bytes::copy_from_slice)).transpose()
}

fn put_sealed(batch: &mut WriteBatch, key: &[u8], content: &[u8]) {
    let mut sealed = Vec::with_capacity(content.len() + 4);
    record::seal(key, content, &mut sealed);
    batch.put(key, sealed);
}

/// Finds the ends of the log and checks everything between them.
fn recover(db: &DB, mark: &mut Mark) -> Result<Ends, StoreError> {
    let synced = match get(db, SYNCED)? {
        Some(content) => Synced::decode(&content)?,
        None => Synced::default(),
    };
    if synced.writes < mark.writes() {
        return Err(lost(format_args!("{} of {} durable writes are left", synced.writes, mark.writes())));
    }
    mark.set(synced.writes)?;
    let purged = match get(db, PURGED)? {
        Some(content) => Some(record::decode_purged(&content)?.0),
        None => None,
    };
    let ends = check_entries(db, Ends { kept: None, purged }, synced.last)?;
    match ends.last() < synced.last {
        false => Ok(ends),
        true => Err(lost(format_args!("it ends at {:?}, not at {:?}", ends.last(), synced.last))),
    }
}

/// Reads all entries. What is damaged after the last durable one is a torn end and dropped.
fn check_entries(db: &DB, mut ends: Ends, durable: Option<u64>) -> Result<Ends, StoreError> {
    let mut iterator = db.raw_iterator_opt(options::scan(&record::entry_key(0), b"f"));
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        match check_entry(&ends, key, value) {
            Ok(index) => ends.kept = Some((ends.kept.map_or(index, |(first, _)| first), index)),
            Err(error) if ends.last() < durable => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the end of the raft log was never made durable and is dropped");
                drop_after(db, &ends)?;
                break;
            }
        }
        iterator.next();
    }
    iterator.status().map_err(failed_read)?;
    Ok(ends)
}

/// The index of the next entry, when it is whole and follows the ones before.
fn check_entry(before: &Ends, key: &[u8], value: &[u8]) -> Result<u64, StoreError> {
    let index = record::entry_index(key)?;
    record::open(key, value)?;
    match before.next() {
        Some(next) if next != index => {
            Err(StoreError::Fatal(format!("the raft log has a hole: {index} follows, not {next}")))
        }
        _ => Ok(index),
    }
}

fn drop_after(db: &DB, ends: &Ends) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.delete_range(&record::entry_key(ends.next().unwrap_or(0))[..], b"f");
    db.write_opt(batch, &options::synced()).map_err(failed_write)
}

fn lost(what: std::fmt::Arguments<'_>) -> StoreError {
    StoreError::Fatal(format!(
        "the raft log lost acknowledged entries or votes: {what}. This replica must be replaced by a new one"
    ))
}

fn failed_write(error: rocksdb::Error) -> StoreError {
    fatal("writing the raft log failed", error)
}

fn failed_read(error: rocksdb::Error) -> StoreError {
    fatal("reading the raft log failed", error)
}
