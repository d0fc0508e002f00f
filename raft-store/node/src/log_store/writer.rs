//! The one thread that writes the raft log.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use store_api::StoreError;
use store_engine::RaftLog;
use store_engine::planted::{Bug, is_planted};
use tokio::sync::{mpsc, oneshot};

use crate::codec;
use crate::errors::{broken, die};
use crate::types::{LogId, TypeConfig};
use crate::world::{LogDisk, LogEvent};

/// Bytes that share one fsync at most.
const GROUP_BYTES: usize = 16 << 20;

pub(super) type Done = oneshot::Sender<Result<(), io::Error>>;
type Written = Box<dyn FnOnce(u64) + Send>;

/// The newest log id that is known to be committed and not written yet: it goes with entries, behind those it names.
/// Nobody wakes the thread for it.
pub(super) type Committed = Arc<Mutex<Option<LogId>>>;

/// One write, in the order of openraft.
pub(super) enum Job {
    Append { entries: Vec<(u64, Bytes)>, callback: IOFlushed<TypeConfig>, written: Written },
    Vote { vote: Bytes, done: Done },
    Truncate { from: u64, done: Done },
    Purge { to: u64, last_purged: Bytes },
}

impl Job {
    fn waits_for_company(&self) -> bool {
        matches!(self, Self::Append { .. })
    }
}

/// The queue's end towards the thread. Dropping it waits until what is queued is written and the log is let go:
/// the database must be closed before the process ends, or RocksDB's own globals go first and it aborts.
pub(super) struct Handle {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Handle {
    /// Starts the thread; at most `queued` jobs wait for it.
    pub(super) fn spawn(log: Arc<RaftLog>, committed: Committed, queued: usize) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(queued);
        let thread = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || Writer { log, committed, group: Group::default(), disk: None }.run(queue))
            .map_err(broken("cannot start the log's writer thread"))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// A task in place of the thread, on a disk that takes its time in the simulation's way.
    pub(super) fn simulated(log: Arc<RaftLog>, committed: Committed, queued: usize, disk: Arc<dyn LogDisk>) -> Self {
        let (jobs, queue) = mpsc::channel(queued);
        let writer = Writer { log, committed, group: Group::default(), disk: Some(disk.clone()) };
        tokio::spawn(writer.run_simulated(queue, disk));
        Self { jobs: Some(jobs), thread: None }
    }

    pub(super) async fn send(&self, job: Job) -> Result<(), io::Error> {
        let stopped = || io::Error::other("the log's writer has stopped");
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job).await.map_err(|_| stopped())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // The last clone may go down with a callback that runs on the thread itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the log's writer thread panicked");
        }
    }
}

/// Appends that will share one fsync.
#[derive(Default)]
struct Group {
    entries: Vec<(u64, Bytes)>,
    bytes: usize,
    callbacks: Vec<(IOFlushed<TypeConfig>, Option<u64>, Written)>,
}

struct Writer {
    log: Arc<RaftLog>,
    committed: Committed,
    group: Group,
    /// Only where it is simulated.
    disk: Option<Arc<dyn LogDisk>>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            self.take(job);
            while self.group.bytes < GROUP_BYTES
                && let Ok(job) = queue.try_recv()
            {
                self.take(job);
            }
            self.flush();
        }
        self.end();
    }

    /// What is left is what nobody wrote anything behind.
    fn end(&self) {
        if let Some((_, last)) = self.log.bounds() {
            must(self.save_committed(last), "what is committed");
        }
    }

    fn save_committed(&self, last: u64) -> Result<(), StoreError> {
        match self.committed.lock().take_if(|committed| committed.index() <= last) {
            Some(committed) => self.log.save_committed(&codec::log_id_to_bytes(&committed)),
            None => Ok(()),
        }
    }

    /// The same as [`Self::run`], but that it lets time pass before something becomes durable.
    async fn run_simulated(mut self, mut queue: mpsc::Receiver<Job>, disk: Arc<dyn LogDisk>) {
        while let Some(job) = queue.recv().await {
            let mut next = Some(job);
            while let Some(job) = next {
                if !job.waits_for_company() {
                    self.flush_simulated(&*disk).await;
                    must(disk.sync().await, "what is to be durable at once");
                }
                self.take(job);
                next = queue.try_recv().ok();
            }
            self.flush_simulated(&*disk).await;
        }
        self.end();
    }

    async fn flush_simulated(&mut self, disk: &dyn LogDisk) {
        let group = std::mem::take(&mut self.group);
        let mut result = self.append(&group);
        if result.is_ok() && !group.entries.is_empty() {
            result = disk.sync().await.and_then(|()| self.log.sync());
            self.tell(LogEvent::Synced);
        }
        self.report(group, result);
    }

    fn tell(&self, event: LogEvent<'_>) {
        if let Some(disk) = &self.disk {
            disk.happened(event);
        }
    }

    /// Appends wait for company; everything else is done in its place.
    fn take(&mut self, job: Job) {
        match job {
            Job::Append { entries, callback, written } => {
                let last = entries.last().map(|(index, _)| *index);
                self.group.bytes += entries.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
                self.group.entries.extend(entries);
                self.group.callbacks.push((callback, last, written));
            }
            Job::Vote { vote, done } => {
                self.flush();
                if !is_planted(Bug::VoteNotKept) {
                    must(self.log.save_vote(&vote), "the vote");
                    self.tell(LogEvent::Voted(&vote));
                }
                finish(done);
            }
            Job::Truncate { from, done } => {
                self.flush();
                must(self.log.truncate(from), "a truncation of the log");
                self.tell(LogEvent::Truncated(from));
                finish(done);
            }
            Job::Purge { to, last_purged } => {
                self.flush();
                must(self.log.purge(to, &last_purged), "a purge of the log");
                self.tell(LogEvent::Purged(to));
            }
        }
    }

    fn flush(&mut self) {
        let group = std::mem::take(&mut self.group);
        let result = self.write(&group);
        self.report(group, result);
    }

    fn report(&self, group: Group, result: Result<(), StoreError>) {
        // Nobody may learn of success: pages of a failed fsync are marked clean, a retry would lie.
        if let Err(error) = result {
            for (callback, _, _) in group.callbacks {
                callback.io_completed(Err(io::Error::other(error.clone())));
            }
            die(&format!("cannot write the raft log: {error}"));
        }
        for (callback, last, written) in group.callbacks {
            if let Some(last) = last {
                written(last);
            }
            callback.io_completed(Ok(()));
        }
    }

    fn write(&self, group: &Group) -> Result<(), StoreError> {
        let started = Instant::now();
        self.append(group)?;
        if group.entries.is_empty() {
            return Ok(());
        }
        self.log.sync()?;
        metrics::histogram!("kontiki_raft_log_fsync_duration_seconds").record(started.elapsed().as_secs_f64());
        metrics::histogram!("kontiki_raft_log_group_entries").record(group.entries.len() as f64);
        Ok(())
    }

    /// Readable, not durable yet.
    fn append(&self, group: &Group) -> Result<(), StoreError> {
        if let Some((last, _)) = group.entries.last() {
            self.save_committed(*last)?;
        }
        self.log.append(&group.entries)?;
        self.tell(LogEvent::Appended(&group.entries));
        Ok(())
    }
}

fn finish(done: Done) {
    // The asker has gone away only when the replica is stopping.
    done.send(Ok(())).ok();
}

fn must(result: Result<(), StoreError>, what: &str) {
    if let Err(error) = result {
        die(&format!("cannot write {what}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crash between the two would leave a replica that looks for committed entries it does not have.
    #[test]
    fn what_is_committed_is_written_behind_the_entries_it_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = Arc::new(RaftLog::open(dir.path()).expect("a log"));
        let committed = Committed::default();
        let mut writer = Writer { log: log.clone(), committed: committed.clone(), group: Group::default(), disk: None };
        let id = |index| codec::log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index });
        let written = |index| Ok(Some(codec::log_id_to_bytes(&id(index))));
        let mut append = |index| {
            let (entries, callback) = (vec![(index, Bytes::from("entry"))], IOFlushed::noop());
            writer.take(Job::Append { entries, callback, written: Box::new(|_| {}) });
            writer.flush();
        };
        *committed.lock() = Some(id(0));
        assert_eq!((log.bounds(), log.committed()), (None, Ok(None)));
        append(0);
        assert_eq!((log.bounds(), log.committed()), (Some((0, 0)), written(0)));
        *committed.lock() = Some(id(2));
        append(1);
        assert_eq!(log.committed(), written(0), "what it names is not written yet");
        append(2);
        assert_eq!(log.committed(), written(2));
    }
}
