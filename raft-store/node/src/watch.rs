//! The watch hub: the newest events in memory once, and watchers that are cursors into them.
//!
//! Publishing appends to the window and wakes waiting watchers; it never waits for one. A watcher
//! that falls out of the window goes on from the engine's history on disk, and only when that is
//! compacted too it gets `Compacted`. So a slow watcher costs nobody anything and misses nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use store_api::{Event, Revision, StoreError, WatchBatch, WatchRequest, WatchStream};
use store_engine::planted::{Bug, is_planted};
use store_engine::{Events, StateMachine};
use tokio::sync::Semaphore;

use crate::blocking::blocking;
use crate::observed::{Receiver, Sender};

/// Revisions kept in memory.
const WINDOW_REVISIONS: usize = 65_536;
/// Matching events after which a batch is handed over (always whole revisions).
const BATCH_EVENTS: usize = 1_000;
/// Revisions looked at before a batch or a progress mark is handed over.
const BATCH_REVISIONS: usize = 4_096;

/// Watchers that read from disk at once. Each may hold some 32 MiB.
const DISK_READERS: usize = 4;

/// All events of one revision.
struct Written {
    revision: Revision,
    events: Vec<Event>,
    bytes: usize,
}

#[derive(Default)]
struct Window {
    /// In revision order, without gaps in what was published since `begins`.
    written: VecDeque<Arc<Written>>,
    bytes: usize,
    published_bytes: u64,
    /// Everything published at or after this revision is in `written`.
    begins: Revision,
}

/// Why a watch ends for everyone.
#[derive(Clone, PartialEq, Eq)]
struct Head {
    published: Revision,
    closed: bool,
}

/// Hands events to watchers.
pub(crate) struct WatchHub {
    engine: Arc<StateMachine>,
    window: RwLock<Window>,
    head: Sender<Head>,
    limit: usize,
    /// Watchers that read history from disk at once: after a restart all of them may want to.
    disk_readers: Semaphore,
}

impl WatchHub {
    /// `limit`: bytes of events kept in memory.
    pub(crate) fn new(engine: Arc<StateMachine>, limit: usize) -> Arc<Self> {
        let published = engine.revision();
        let window = Window { begins: published + 1, ..Window::default() };
        let head = Sender::new(Head { published, closed: false });
        let disk_readers = Semaphore::new(DISK_READERS);
        Arc::new(Self { engine, window: RwLock::new(window), head, limit, disk_readers })
    }

    /// Makes the events of newly applied revisions visible, in order.
    pub(crate) fn publish(&self, applied: impl IntoIterator<Item = (Revision, Vec<Event>)>, upto: Revision) {
        let taken = if is_planted(Bug::WatchDropsWhenFull) { 1 } else { usize::MAX };
        let mut window = self.window.write();
        for (revision, events) in applied.into_iter().take(taken) {
            window.push(revision, events, self.limit);
        }
        drop(window);
        self.head.modify_if(|head| {
            let grew = upto > head.published;
            head.published = head.published.max(upto);
            grew
        });
    }

    /// The state was replaced by a snapshot at `revision`: what lies between is only on disk.
    pub(crate) fn reset(&self, revision: Revision) {
        let mut window = self.window.write();
        *window = Window { begins: revision + 1, published_bytes: window.published_bytes, ..Window::default() };
        drop(window);
        self.head.modify(|head| head.published = revision);
    }

    /// Bytes of keys and values published since the start, without what they replaced.
    pub(crate) fn published_bytes(&self) -> u64 {
        self.window.read().published_bytes
    }

    /// Ends all watches: the replica stops.
    pub(crate) fn close(&self) {
        self.head.modify(|head| head.closed = true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.head.borrow().closed
    }

    /// Open watches.
    pub(crate) fn watchers(&self) -> usize {
        self.head.receivers()
    }

    pub(crate) fn watch(self: &Arc<Self>, request: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        let mut head = self.head.subscribe();
        let published = head.borrow_and_update().published;
        let next = match request.from {
            0 => published + 1,
            from if from > published && is_planted(Bug::FutureIsNow) => published + 1,
            from => from + u64::from(is_planted(Bug::ResumeTooLate)),
        };
        let oldest = self.engine.compacted();
        if next < oldest {
            return Err(StoreError::Compacted { requested: next, oldest });
        }
        Ok(Box::new(Watcher { hub: self.clone(), head, range: Range { start: request.start, end: request.end }, next }))
    }
}

impl Window {
    fn push(&mut self, revision: Revision, events: Vec<Event>, limit: usize) {
        let bytes = events.iter().map(event_bytes).sum();
        let written = events.iter().map(|event| event.kv()).map(|kv| kv.key.len() + kv.value.len());
        self.published_bytes += written.sum::<usize>() as u64;
        self.bytes += bytes;
        self.written.push_back(Arc::new(Written { revision, events, bytes }));
        while self.written.len() > WINDOW_REVISIONS || (self.bytes > limit && self.written.len() > 1) {
            if let Some(oldest) = self.written.pop_front() {
                self.bytes -= oldest.bytes;
                self.begins = oldest.revision + 1;
            }
        }
    }

    /// What was written from `next` on, at most `BATCH_REVISIONS`; `None` when the window begins later.
    fn since(&self, next: Revision) -> Option<Vec<Arc<Written>>> {
        if next < self.begins {
            return None;
        }
        let first = self.written.partition_point(|written| written.revision < next);
        Some(self.written.range(first..).take(BATCH_REVISIONS).cloned().collect())
    }
}

/// About what an event costs in memory.
fn event_bytes(event: &Event) -> usize {
    const FRAME: usize = 256;
    let previous = match event {
        Event::Put { previous, .. } => previous.as_ref(),
        Event::Delete { previous, .. } => Some(previous),
    };
    let kv = event.kv();
    FRAME + kv.key.len() + kv.value.len() + previous.map_or(0, |kv| kv.key.len() + kv.value.len())
}

/// `[start, end)`; an empty end is the end of the key space.
struct Range {
    start: Bytes,
    end: Bytes,
}

impl Range {
    fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && (self.end.is_empty() || key < self.end.as_ref())
    }

    fn select(&self, events: &[Event]) -> Vec<Event> {
        events.iter().filter(|event| self.contains(&event.kv().key)).cloned().collect()
    }
}

struct Watcher {
    hub: Arc<WatchHub>,
    head: Receiver<Head>,
    range: Range,
    /// The first revision not delivered yet.
    next: Revision,
}

#[async_trait]
impl WatchStream for Watcher {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            let head = self.head.borrow_and_update().clone();
            if head.closed {
                return Err(StoreError::Unavailable("this replica is stopping".into()));
            }
            if head.published >= self.next {
                return self.batch(head.published).await;
            }
            if self.head.changed().await.is_err() {
                return Err(StoreError::Unavailable("this replica has stopped".into()));
            }
        }
    }
}

impl Watcher {
    /// The next batch of what was published up to `published`; moves the cursor behind it.
    async fn batch(&mut self, published: Revision) -> Result<WatchBatch, StoreError> {
        let in_window = self.hub.window.read().since(self.next);
        match in_window {
            Some(written) => Ok(self.batch_in_window(&written, published)),
            None => self.batch_on_disk(published).await,
        }
    }

    fn batch_in_window(&mut self, written: &[Arc<Written>], published: Revision) -> WatchBatch {
        let mut events = Vec::new();
        // A full take means that there is more, up to an unknown revision.
        let mut upto = if written.len() < BATCH_REVISIONS { published.max(self.next) } else { self.next };
        for (at, written_here) in written.iter().enumerate() {
            events.extend(self.range.select(&written_here.events));
            let last = at + 1 == written.len();
            if events.len() >= BATCH_EVENTS || (last && written.len() == BATCH_REVISIONS) {
                upto = written_here.revision;
                break;
            }
            upto = upto.max(written_here.revision);
        }
        if is_planted(Bug::ProgressTooEarly) {
            upto += 1;
        }
        self.next = upto + 1;
        WatchBatch { revision: upto, events }
    }

    async fn batch_on_disk(&mut self, published: Revision) -> Result<WatchBatch, StoreError> {
        // Never closed.
        let _slot = self.hub.disk_readers.acquire().await;
        let Range { start, end } = &self.range;
        let read = || self.hub.engine.events_in(self.next - 1, published, (start, end), BATCH_EVENTS);
        let Events { upto, revisions } = blocking(read)?;
        self.next = upto + 1;
        Ok(WatchBatch { revision: upto, events: revisions.into_iter().flat_map(|(_, events)| events).collect() })
    }
}

#[cfg(test)]
mod tests {
    use store_api::{Op, Txn};
    use store_core::Command;
    use store_engine::{ApplyEntry, ApplyPayload};

    use super::*;

    fn write(engine: &StateMachine, hubs: &[&Arc<WatchHub>], n: u64) {
        let put = |key: String| Op::Put { key: key.into(), value: vec![b'x'; 100].into(), lease: 0 };
        let success = vec![put(format!("a/{}", n % 7)), put(format!("b/{n}"))];
        let command = Command::Txn(Txn { success, ..Txn::default() });
        let payload = ApplyPayload::Command(command);
        let entry = ApplyEntry { index: engine.next_index(), log_id: Bytes::from(n.to_string()), payload };
        let applied = engine.apply(&[entry]).expect("applied");
        for hub in hubs {
            hub.publish(applied.iter().map(|applied| (applied.revision, applied.events.clone())), applied[0].revision);
        }
    }

    async fn read(hub: &Arc<WatchHub>, start: &'static str, from: Revision, upto: Revision) -> Vec<Event> {
        let request = WatchRequest { start: start.into(), end: store_api::prefix_end(start.as_bytes()), from };
        let mut watch = hub.watch(request).expect("watch");
        let mut events = Vec::new();
        loop {
            let batch = watch.next().await.expect("history is there");
            assert!(batch.events.iter().all(|event| event.kv().mod_revision <= batch.revision));
            events.extend(batch.events);
            if batch.revision >= upto {
                return events;
            }
        }
    }

    #[tokio::test]
    async fn window_and_disk_tell_the_same_history() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Arc::new(StateMachine::open(dir.path()).expect("a state"));
        let (small, large) = (WatchHub::new(engine.clone(), 5_000), WatchHub::new(engine.clone(), 1 << 20));
        for n in 2..=3_000 {
            write(&engine, &[&small, &large], n);
        }
        assert!(small.window.read().written.len() < 20, "the small window forgets");
        for from in [1, 2, 1_500, 2_990, 3_000] {
            let expected = read(&large, "a/", from, 3_000).await;
            assert_eq!(expected.len() as u64, 3_001 - from.max(2));
            assert!(read(&small, "a/", from, 3_000).await == expected, "from {from}");
        }
        // After a snapshot took the place of the state, history comes from disk, and new events follow it.
        large.reset(3_000);
        write(&engine, &[&small, &large], 3_001);
        assert!(read(&large, "b/", 2_000, 3_001).await == read(&small, "b/", 2_000, 3_001).await);
        assert_eq!(read(&large, "b/", 2_000, 3_001).await.len(), 1_002);
    }

    #[tokio::test]
    async fn a_closed_hub_ends_its_watches() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Arc::new(StateMachine::open(dir.path()).expect("a state"));
        let hub = WatchHub::new(engine, 1 << 20);
        let mut watch = hub.watch(WatchRequest { start: "a".into(), end: Bytes::new(), from: 0 }).expect("watch");
        assert_eq!(hub.watchers(), 1);
        hub.close();
        assert!(matches!(watch.next().await, Err(StoreError::Unavailable(_))));
        drop(watch);
        assert_eq!(hub.watchers(), 0);
    }
}
