//! The raft log of one replica.
//!
//! Records, one after the other ([`record`]), in files ([`segment`]) of which the oldest go when all in them is
//! purged. What they say is kept in memory ([`index`]), entries as the places where they lie. Everything is read and
//! checked at start ([`recover`]); what was durable is known from a mark outside the log ([`mark`]). (A general
//! key-value database as the log would write each entry twice or more, once into a log of its own, and keep it in
//! memory meanwhile.)

mod index;
mod mark;
mod record;
mod recover;
mod segment;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use store_api::StoreError;

use crate::{dir, fatal};
use index::{Index, Place};
use mark::Mark;
use record::{Head, Record};
use recover::Recovered;
use segment::Segment;

/// Formats before were a RocksDB database.
const FORMATS: dir::Formats = dir::Formats { newest: "kontiki raft log 2", older: &[] };
/// Bytes after which the next file is begun.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of entries read at once.
const READ_BYTES: usize = 8 << 20;

/// The raft log of one replica. Entries are opaque; each is kept with a checksum.
pub struct RaftLog {
    writer: Mutex<Writer>,
    shelf: RwLock<Shelf>,
    dir: dir::Claimed,
}

/// What readers look at.
struct Shelf {
    index: Index,
    /// In order; the last one is written to.
    segments: VecDeque<Segment>,
}

/// What only one may use at a time.
struct Writer {
    mark: Mark,
    /// The file written to.
    active: Segment,
    /// Position of the end of the log.
    end: u64,
    /// Written behind whatever is written next.
    committed: Option<Bytes>,
    buffer: Vec<u8>,
    /// A write failed, after which nothing is known of the file's end.
    failed: Option<StoreError>,
}

impl RaftLog {
    /// Opens or creates `log/` in the data directory. Refuses a log that lost entries it had made durable
    /// (checksum, high-water mark); drops a torn tail beyond the mark. Reads the whole log once.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let claimed = dir::claim(&dir.join("log"), &FORMATS)?;
        let files = Segment::open_all(&claimed.path)?;
        let mut mark = Mark::open(&claimed.path.join("MARK"), !files.is_empty())?;
        let Recovered { segments, index, end } = match recover::recover(&claimed.path, files, &mut mark)? {
            Some(recovered) => recovered,
            None => begin(&claimed.path)?,
        };
        let active = segments.last().cloned().ok_or_else(|| fatal(claimed.path.display(), "no file of the log"))?;
        let writer = Writer { mark, active, end, committed: None, buffer: Vec::new(), failed: None };
        let shelf = Shelf { index, segments: segments.into() };
        Ok(Self { writer: Mutex::new(writer), shelf: RwLock::new(shelf), dir: claimed })
    }

    /// Writes entries with consecutive indexes; durable only after [`Self::sync`], readable on return.
    pub fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), StoreError> {
        let Some((first, _)) = entries.first() else { return Ok(()) };
        let mut writer = self.writer.lock();
        self.shelf.read().index.check_next(*first)?;
        for ((index, _), next) in entries.iter().zip(*first..) {
            if *index != next {
                return Err(StoreError::Invalid(format!("log index {index} follows, not {next}")));
            }
        }
        let records = entries.iter().map(|(index, entry)| Record::Entry { index: *index, entry: entry.clone() });
        self.write(&mut writer, records)
    }

    /// Makes everything written before durable (one fdatasync). An error is final: the process must end.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.write_synced(&mut self.writer.lock(), None)
    }

    /// Entries of the range that are kept, each checked.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.read_some(range, usize::MAX)
    }

    /// [`Self::read`], as of one moment, up to and including the entry with which `max_bytes` are reached.
    pub fn read_some(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let (first, places, segments) = {
            let shelf = self.shelf.read();
            let Some((begin, _)) = shelf.index.bounds() else { return Ok(Vec::new()) };
            let places = shelf.index.places(range.clone(), max_bytes);
            let segments = segments_of(&shelf.segments, &places);
            (range.start.max(begin), places, segments)
        };
        let mut entries = Vec::with_capacity(places.len());
        let mut rest = &places[..];
        while let Some(run) = run(rest, &segments) {
            read_run(&segments, run, first + entries.len() as u64, &mut entries)?;
            rest = &rest[run.len()..];
        }
        Ok(entries)
    }

    /// First and last index kept.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        self.shelf.read().index.bounds()
    }

    /// Removes `from` and everything after it; durable on return.
    pub fn truncate(&self, from: u64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let bounds = self.bounds().filter(|(_, last)| from <= *last);
        let Some((first, _)) = bounds else { return Ok(()) };
        self.write_synced(&mut writer, Some(Record::Truncate { from: from.max(first) }))
    }

    /// Removes everything up to and including `to`, remembering `last_purged` (opaque) with it;
    /// durable on return. `to` may lie beyond the end, when a snapshot has replaced the log.
    pub fn purge(&self, to: u64, last_purged: &[u8]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        if let Some((purged, _)) = self.shelf.read().index.purged().filter(|(purged, _)| to < *purged) {
            return Err(StoreError::Invalid(format!("purge to {to}, though {purged} was purged")));
        }
        let purge = Record::Purge { to, last_purged: Bytes::copy_from_slice(last_purged) };
        self.write_synced(&mut writer, Some(purge))?;
        self.remove_purged(to)
    }

    pub fn last_purged(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.shelf.read().index.purged().map(|(_, last)| last.clone()))
    }

    /// Durable on return, with everything appended before.
    pub fn save_vote(&self, vote: &[u8]) -> Result<(), StoreError> {
        self.write_synced(&mut self.writer.lock(), Some(Record::Vote(Bytes::copy_from_slice(vote))))
    }

    pub fn vote(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.shelf.read().index.vote())
    }

    /// Written behind what is written next, so it is never there without that and what was appended before.
    pub fn save_committed(&self, log_id: &[u8]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        writer.committed = Some(Bytes::copy_from_slice(log_id));
        writer.failed.clone().map_or(Ok(()), Err)
    }

    /// What was saved last.
    pub fn committed(&self) -> Result<Option<Bytes>, StoreError> {
        let waiting = self.writer.lock().committed.clone();
        Ok(waiting.or_else(|| self.shelf.read().index.committed()))
    }

    /// Bytes its files take.
    pub fn disk_bytes(&self) -> u64 {
        dir::disk_bytes(&self.dir.path)
    }

    /// Writes a record, if any, and makes it durable with everything before it.
    fn write_synced(&self, writer: &mut Writer, record: Option<Record>) -> Result<(), StoreError> {
        self.write(writer, record)?;
        writer.sync()
    }

    /// Writes records, and does what they say.
    fn write(&self, writer: &mut Writer, records: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        writer.failed.clone().map_or(Ok(()), Err)?;
        if writer.end - writer.active.base >= SEGMENT_BYTES {
            self.begin_segment(writer).inspect_err(|error| writer.failed = Some(error.clone()))?;
        }
        let committed = writer.committed.take().map(Record::Committed);
        let records: Vec<Record> = records.into_iter().chain(committed).collect();
        let places = writer.write(&records).inspect_err(|error| writer.failed = Some(error.clone()))?;
        let mut shelf = self.shelf.write();
        for (record, place) in records.iter().zip(places) {
            if let (Record::Entry { index, .. }, Some(active)) = (record, shelf.segments.back_mut()) {
                active.highest = active.highest.max(Some(*index));
            }
            shelf.index.take(record, place)?;
        }
        Ok(())
    }

    /// The file before is durable, and known to be, before anything is in the next.
    fn begin_segment(&self, writer: &mut Writer) -> Result<(), StoreError> {
        writer.sync()?;
        writer.mark.sync()?;
        let head = self.shelf.read().index.head();
        writer.active = Segment::create(&self.dir.path, writer.end)?;
        self.shelf.write().segments.push_back(writer.active.clone());
        writer.write(&[Record::Head(head)])?;
        writer.sync()
    }

    fn remove_purged(&self, to: u64) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        {
            let mut shelf = self.shelf.write();
            while shelf.segments.len() > 1 && shelf.segments[0].highest <= Some(to) {
                gone.extend(shelf.segments.pop_front());
            }
        }
        gone.iter().try_for_each(|segment| segment.remove(&self.dir.path))
    }
}

impl Writer {
    /// Appends to the file; answers where each record lies.
    fn write(&mut self, records: &[Record]) -> Result<Vec<Place>, StoreError> {
        self.buffer.clear();
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let begin = self.buffer.len();
            let position = self.end + begin as u64;
            record::encode(record, position, &mut self.buffer);
            places.push(Place { position, bytes: self.buffer.len() - begin });
        }
        self.active.write(self.end, &self.buffer)?;
        self.end += self.buffer.len() as u64;
        self.buffer.shrink_to(1 << 20);
        Ok(places)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.failed.clone().map_or(Ok(()), Err)?;
        let synced = self.active.sync().and_then(|()| self.mark.set(self.end));
        synced.inspect_err(|error| self.failed = Some(error.clone()))
    }
}

impl Drop for RaftLog {
    fn drop(&mut self) {
        // What is committed is found again without this too, only later.
        let mut writer = self.writer.lock();
        if let Err(error) = self.write(&mut writer, None) {
            tracing::debug!(%error, "how much of the raft log is committed is not written down");
        }
    }
}

/// The first file of a new log.
fn begin(dir: &Path) -> Result<Recovered, StoreError> {
    let segment = Segment::create(dir, 0)?;
    let mut head = Vec::new();
    record::encode(&Record::Head(Head::default()), 0, &mut head);
    segment.write(0, &head)?;
    segment.sync()?;
    Ok(Recovered { segments: vec![segment], index: Index::default(), end: head.len() as u64 })
}

/// The files in which these places lie, in order.
fn segments_of(segments: &VecDeque<Segment>, places: &[Place]) -> Vec<Segment> {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Vec::new() };
    let lies_before = |position: u64| segments.partition_point(|segment| segment.base <= position);
    let files = lies_before(first.position).saturating_sub(1)..lies_before(last.position);
    segments.range(files).cloned().collect()
}

/// As many of the places as lie together in one file and can be read at once.
fn run<'a>(places: &'a [Place], segments: &[Segment]) -> Option<&'a [Place]> {
    let first = places.first()?;
    let file_ends = segments.iter().map(|segment| segment.base).find(|base| *base > first.position);
    let mut end = first.position;
    let together = places.iter().take_while(|place| {
        let fits = place.position == end
            && file_ends.is_none_or(|file_ends| place.position < file_ends)
            && (place.position == first.position
                || place.position + place.bytes as u64 - first.position <= READ_BYTES as u64);
        end = place.position + place.bytes as u64;
        fits
    });
    Some(&places[..together.count()])
}

/// Reads places that lie together, of entries from `first` on, and checks each.
fn read_run(
    segments: &[Segment],
    run: &[Place],
    first: u64,
    entries: &mut Vec<(u64, Bytes)>,
) -> Result<(), StoreError> {
    let begin = run[0].position;
    let file = segments.iter().rfind(|segment| segment.base <= begin);
    let file = file.ok_or_else(|| damaged(first))?;
    let content = file.read(begin, run.iter().map(|place| place.bytes).sum())?;
    for (place, wanted) in run.iter().zip(first..) {
        let offset = (place.position - begin) as usize;
        match record::decode(&content.slice(offset..offset + place.bytes), place.position) {
            Some((Record::Entry { index, entry }, _)) if index == wanted => entries.push((index, entry)),
            _ => return Err(damaged(wanted)),
        }
    }
    Ok(())
}

fn damaged(index: u64) -> StoreError {
    StoreError::Fatal(format!("the raft log is damaged at entry {index}. This replica must be replaced by a new one"))
}
