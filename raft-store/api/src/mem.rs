//! An in-memory [`crate::Store`] for tests of everything above the store.
//!
//! It is complete (it passes [`crate::conformance`]), and written apart from `store-core`, so that
//! each serves as the other's oracle. Leases run on tokio's clock: `tokio::time::pause` works.

mod state;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::*;
use state::State;

/// Most events of one watch batch; whole revisions may exceed it.
const MAX_BATCH_EVENTS: usize = 1000;

/// A store of one replica that lives as long as it is held.
#[derive(Clone)]
pub struct MemStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The applied revision, or a change that waiters must look at (compaction).
    changed: watch::Sender<Revision>,
}

/// What happens to one of the next transactions, for tests of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect.
    Before(StoreError),
    /// It takes effect, and its answer is lost.
    After(StoreError),
}

impl Default for MemStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemStore {
    pub fn new() -> Self {
        Self::with_history(u64::MAX)
    }

    /// Remembers only the last `revisions` revisions: older ones are compacted as new ones are written.
    pub fn with_history(revisions: u64) -> Self {
        let state = Mutex::new(State::new(revisions));
        Self { shared: Arc::new(Shared { state, changed: watch::Sender::new(FIRST_REVISION) }) }
    }

    pub fn into_dyn(self) -> DynStore {
        Arc::new(self)
    }

    /// Queues a fault for the next transaction that has none yet.
    pub fn inject(&self, fault: Fault) {
        self.shared.state.lock().faults.push_back(fault);
    }

    /// Like [`Store::compact`], without waiting.
    pub fn compact_now(&self, revision: Revision) -> Result<(), StoreError> {
        let done = self.shared.state.lock().compact(revision);
        self.shared.announce();
        done
    }

    /// The revision a read is answered at, once it is reached.
    async fn reach(&self, at: ReadAt) -> Result<Revision, StoreError> {
        match at {
            ReadAt::Linearizable | ReadAt::Local => Ok(self.applied_revision()),
            ReadAt::Revision(revision) => {
                self.wait_applied(revision, FUTURE_READ_TIMEOUT).await?;
                Ok(revision)
            }
        }
    }
}

impl Shared {
    fn announce(&self) {
        let revision = self.state.lock().revision;
        self.changed.send_modify(|seen| *seen = revision.max(*seen));
    }
}

#[async_trait]
impl Store for MemStore {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        let (fault, reply) = {
            let mut state = self.shared.state.lock();
            let fault = state.faults.pop_front();
            if let Some(Fault::Before(error)) = fault {
                return Err(error);
            }
            (fault, state.txn(&txn))
        };
        self.shared.announce();
        match fault {
            Some(Fault::After(error)) => Err(error),
            _ => reply,
        }
    }

    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        let revision = self.reach(at).await?;
        let kv = self.shared.state.lock().get_at(key, revision)?;
        Ok(GetReply { kv, revision })
    }

    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        let revision = self.reach(range.at).await?;
        self.shared.state.lock().range_at(&range, revision)
    }

    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        let state = self.shared.state.lock();
        let next = if watch.from == 0 { state.revision + 1 } else { watch.from };
        state.check_readable(next)?;
        let changed = self.shared.changed.subscribe();
        Ok(Box::new(MemWatch { shared: self.shared.clone(), changed, next, start: watch.start, end: watch.end }))
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        let now = Instant::now();
        let id = self.shared.state.lock().grant(lease, ttl, now)?;
        tokio::spawn(expire(Arc::downgrade(&self.shared), id, now + ttl));
        Ok(id)
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.shared.state.lock().renew(lease, Instant::now())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let done = self.shared.state.lock().revoke(lease);
        self.shared.announce();
        done
    }

    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.shared.state.lock().lease(lease, Instant::now())
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        Ok(self.shared.state.lock().leases())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.compact_now(revision)
    }

    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        Ok(self.applied_revision())
    }

    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        let mut changed = self.shared.changed.subscribe();
        let reached = tokio::time::timeout(timeout, changed.wait_for(|applied| *applied >= revision)).await;
        match reached {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::FutureRevision { requested: revision, current: self.applied_revision() }),
        }
    }

    fn applied_revision(&self) -> Revision {
        self.shared.state.lock().revision
    }

    fn status(&self) -> StoreStatus {
        let state = self.shared.state.lock();
        let member = Member { id: 1, voter: true, ..Member::default() };
        StoreStatus {
            id: 1,
            cluster_id: "memory".into(),
            leader: Some(1),
            term: 1,
            last_log_index: state.revision,
            committed_index: state.revision,
            applied_index: state.revision,
            revision: state.revision,
            compacted_revision: state.compacted,
            members: vec![member],
            disk_bytes: 0,
            state_hash: state.hash,
        }
    }
}

/// Ends a lease when its time has come; renewals only move the end it finds on waking.
async fn expire(shared: std::sync::Weak<Shared>, id: LeaseId, mut end: Instant) {
    loop {
        tokio::time::sleep_until(end).await;
        let Some(shared) = shared.upgrade() else { return };
        let mut state = shared.state.lock();
        match state.lease_end(id) {
            None => return,
            Some(later) if later > Instant::now() => end = later,
            Some(_) => {
                // The lease was there under this lock.
                let _ = state.revoke(id);
                drop(state);
                shared.announce();
                return;
            }
        }
    }
}

/// A position in the history; nothing is queued for it.
struct MemWatch {
    shared: Arc<Shared>,
    changed: watch::Receiver<Revision>,
    /// The first revision not delivered yet.
    next: Revision,
    start: bytes::Bytes,
    end: bytes::Bytes,
}

#[async_trait]
impl WatchStream for MemWatch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            self.changed.borrow_and_update();
            if let Some(batch) = self.poll()? {
                return Ok(batch);
            }
            if self.changed.changed().await.is_err() {
                return Err(StoreError::Unavailable("the store was dropped".into()));
            }
        }
    }
}

impl MemWatch {
    fn poll(&mut self) -> Result<Option<WatchBatch>, StoreError> {
        let state = self.shared.state.lock();
        state.check_readable(self.next)?;
        let mut batch = WatchBatch { revision: 0, events: Vec::new() };
        for (revision, events) in state.history_from(self.next) {
            let matching = events.iter().filter(|e| in_range(&e.kv().key, &self.start, &self.end));
            batch.events.extend(matching.cloned());
            batch.revision = revision;
            if batch.events.len() >= MAX_BATCH_EVENTS {
                break;
            }
        }
        if batch.revision == 0 {
            return Ok(None);
        }
        self.next = batch.revision + 1;
        Ok(Some(batch))
    }
}
