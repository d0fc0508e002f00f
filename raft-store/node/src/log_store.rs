//! openraft's log storage over [`store_engine::RaftLog`].
//!
//! All writes go through one thread, in the order openraft gave them. It takes everything that is
//! waiting, writes it with one engine append and one fsync, and only then reports the completions,
//! in order. An entry is readable as soon as `append` returns, from memory; the newest entries stay
//! there, so that replication and apply rarely read the disk.

mod memory;
mod size;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use store_api::StoreError;
use store_engine::RaftLog;
use store_engine::planted::{Bug, is_planted};
use tokio::sync::oneshot;

use self::memory::{Check, Memory};
use self::writer::Job;
use crate::blocking::blocking;
use crate::codec;
use crate::errors::broken;
use crate::space::Space;
use crate::types::{Entry, LogId, TypeConfig, Vote};
use crate::witness::Witness;
use crate::world::LogDisk;

/// Bytes of entries handed out by one bounded read: what one append request to a peer carries.
const READ_BYTES: usize = 4 << 20;
/// Jobs waiting for the writer thread. openraft puts up to 4096 entries into one.
const QUEUED_JOBS: usize = 256;

/// The raft log of this replica; cheap to clone, all clones are one log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    jobs: Arc<writer::Handle>,
}

struct Shared {
    log: Arc<RaftLog>,
    memory: parking_lot::Mutex<Memory>,
    committed: writer::Committed,
    /// Until it is written, before the first promise.
    witness: parking_lot::Mutex<Option<Witness>>,
    space: Arc<Space>,
}

impl LogStore {
    /// Reads where the log stands and starts its writer thread, which ends with the last clone. The witness, if
    /// any, is written before the first vote or entry. On a simulated `disk` the thread is a task. `held`: bytes of
    /// newest entries kept in memory after they were written.
    pub(crate) fn open(
        log: Arc<RaftLog>,
        witness: Option<Witness>,
        disk: Option<Arc<dyn LogDisk>>,
        space: Arc<Space>,
        held: usize,
    ) -> Result<Self, StoreError> {
        let memory = memory::load(&log, held)?;
        let committed = writer::Committed::default();
        let jobs = match disk {
            None => writer::Handle::spawn(log.clone(), committed.clone(), QUEUED_JOBS)?,
            Some(disk) => writer::Handle::simulated(log.clone(), committed.clone(), QUEUED_JOBS, disk),
        };
        let jobs = Arc::new(jobs);
        let (memory, witness) = (parking_lot::Mutex::new(memory), parking_lot::Mutex::new(witness));
        let store = Self { shared: Arc::new(Shared { log, memory, committed, witness, space }), jobs };
        if !store.is_pristine() {
            store.shared.testify().map_err(broken("what lies beside the data directory"))?;
        }
        Ok(store)
    }

    /// Whether anything was ever written: entries, or a vote.
    pub(crate) fn is_pristine(&self) -> bool {
        let memory = self.shared.memory.lock();
        memory.last().is_none() && memory.vote().is_none()
    }

    /// The last entry it holds or held.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.memory.lock().last()
    }

    /// The last entry it held and holds no more.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.memory.lock().purged()
    }

    /// What is known to be committed is not told at the next start of raft, which would apply it before anything else.
    pub(crate) fn forget_committed(&self) {
        self.shared.memory.lock().set_committed(None);
    }

    /// About how many bytes of entries follow `index`.
    pub(crate) fn bytes_after(&self, index: u64) -> u64 {
        self.shared.memory.lock().size().after(index)
    }

    /// The last index after which there are about so many bytes, if there are more in all.
    pub(crate) fn index_leaving(&self, bytes: u64) -> Option<u64> {
        self.shared.memory.lock().size().leaving(bytes)
    }

    /// Whether anything can still write to it, for tests.
    #[cfg(any(test, feature = "test-support"))]
    pub(crate) fn engine(&self) -> std::sync::Weak<RaftLog> {
        Arc::downgrade(&self.shared.log)
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.shared.log.disk_bytes()
    }

    async fn submit(&self, job: Job) -> Result<(), io::Error> {
        self.jobs.send(job).await
    }

    async fn submit_and_wait(&self, job: impl FnOnce(writer::Done) -> Job) -> Result<(), io::Error> {
        let (done, wait) = oneshot::channel();
        self.submit(job(done)).await?;
        wait.await.map_err(|_| io::Error::other("the log's writer has stopped"))?
    }
}

impl Shared {
    /// Before anything is promised: whoever loses this log must not look new.
    fn testify(&self) -> Result<(), io::Error> {
        let mut witness = self.witness.lock();
        if let Some(unwritten) = witness.as_ref() {
            unwritten.write()?;
            *witness = None;
        }
        Ok(())
    }

    /// Entries of `start..end` that the log holds, from memory where possible; stops after about `max_bytes`.
    fn read(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Entry>, io::Error> {
        loop {
            let plan = self.memory.lock().plan(start, end, max_bytes);
            if plan.disk.is_empty() {
                return Ok(plan.newest);
            }
            let (entries, full) = blocking(|| self.read_disk(plan.disk.clone(), max_bytes))?;
            match self.memory.lock().check(&plan, &entries, full) {
                Check::Whole if full => return Ok(entries),
                Check::Whole => return Ok(fill(entries, plan.newest, max_bytes)),
                Check::Again => {}
                Check::Hole => return Err(hole(&plan.disk, &entries)),
            }
        }
    }

    /// Answers too whether the limit ended it.
    fn read_disk(&self, range: Range<u64>, max_bytes: usize) -> Result<(Vec<Entry>, bool), io::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes_read = 0;
        for (index, bytes) in self.log.read_some(range, max_bytes).map_err(io::Error::other)? {
            bytes_read += bytes.len();
            let entry = codec::entry_from_bytes(bytes).map_err(io::Error::other)?;
            check_place(&entries, index, &entry)?;
            entries.push(entry);
        }
        Ok((entries, bytes_read >= max_bytes))
    }
}

/// As many of the newest entries behind those from disk as the limit leaves room for.
fn fill(mut entries: Vec<Entry>, newest: Vec<Entry>, max_bytes: usize) -> Vec<Entry> {
    let mut bytes: usize = entries.iter().map(codec::entry_size).sum();
    for entry in newest {
        if bytes >= max_bytes {
            break;
        }
        bytes += codec::entry_size(&entry);
        entries.push(entry);
    }
    entries
}

/// Entries that must be there are not: never hand out what follows them.
fn hole(asked: &Range<u64>, found: &[Entry]) -> io::Error {
    let ends = found.first().zip(found.last()).map(|(first, last)| (first.log_id.index(), last.log_id.index()));
    io::Error::other(format!("the log has a hole: of the entries {asked:?} on disk it holds {ends:?}"))
}

/// A hole in the log, or an entry in another's place, is a broken disk: never hand it out.
fn check_place(before: &[Entry], index: u64, entry: &Entry) -> Result<(), io::Error> {
    let follows = before.last().is_none_or(|last| last.log_id.index() + 1 == index);
    match follows && entry.log_id.index() == index {
        true => Ok(()),
        false => Err(io::Error::other(format!("the log has {} at index {index}", entry.log_id))),
    }
}

fn to_half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// Reads the log for replication and apply.
#[derive(Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = to_half_open(&range);
        self.shared.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(start, end, READ_BYTES)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = to_half_open(&range);
        let shared = self.shared.clone();
        let pieces = stream::try_unfold(start, move |next| {
            let shared = shared.clone();
            async move {
                if next >= end {
                    return Ok(None);
                }
                let entries = shared.read(next, end, READ_BYTES)?;
                Ok::<_, io::Error>(entries.last().map(|last| last.log_id.index() + 1).map(|after| (entries, after)))
            }
        });
        let items = futures::StreamExt::flat_map(pieces, |piece: Result<Vec<Entry>, io::Error>| {
            stream::iter(match piece {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Box::pin(items)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory.lock().vote())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let memory = self.shared.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged(), last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.shared.testify()?;
        let bytes = codec::vote_to_bytes(vote);
        self.submit_and_wait(|done| Job::Vote { vote: bytes, done }).await?;
        self.shared.memory.lock().set_vote(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            *self.shared.committed.lock() = Some(committed);
            self.shared.memory.lock().set_committed(Some(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.memory.lock().committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.shared.testify()?;
        let entries: Vec<Entry> = entries.into_iter().collect();
        let encode = |entry: &Entry| (entry.log_id.index(), codec::entry_to_bytes(entry));
        let encoded: Vec<(u64, Bytes)> = entries.iter().map(encode).collect();
        self.shared.space.takes(encoded.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        self.shared.memory.lock().append(entries);
        let shared = self.shared.clone();
        let written = Box::new(move |upto| shared.memory.lock().written(upto));
        self.submit(Job::Append { entries: encoded, callback, written }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.as_ref().map_or(0, |last| last.index() + 1);
        self.shared.memory.lock().truncate(last);
        self.submit_and_wait(|done| Job::Truncate { from, done }).await?;
        // Appends that were flushed meanwhile have reported what is gone again now.
        self.shared.memory.lock().not_written(from);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let end = is_planted(Bug::PurgesTooFar).then(|| self.last()).flatten();
        let log_id = end.unwrap_or(log_id);
        self.shared.memory.lock().purge(log_id);
        // Waiting would stop the whole replica for the deletion; a crash before it only keeps more.
        self.submit(Job::Purge { to: log_id.index(), last_purged: codec::log_id_to_bytes(&log_id) }).await
    }
}
