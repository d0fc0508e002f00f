//! A store of one replica straight over the engine: what is proposed is applied at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::*;
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, StateMachine};
use tokio::sync::watch;

#[derive(Clone)]
pub(crate) struct EngineStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: StateMachine,
    /// The next log index; held while applying.
    next: tokio::sync::Mutex<u64>,
    changed: watch::Sender<Revision>,
    /// Of leases, unless renewed.
    ends: parking_lot::Mutex<HashMap<LeaseId, Instant>>,
}

pub(crate) fn entry(index: u64, command: Command) -> ApplyEntry {
    let log_id = Bytes::copy_from_slice(&index.to_be_bytes());
    ApplyEntry { index, log_id, payload: ApplyPayload::Command(command) }
}

impl EngineStore {
    pub(crate) fn open(dir: &Path) -> Self {
        let state = StateMachine::open(dir).expect("open");
        let changed = watch::Sender::new(state.revision());
        let (next, ends) = (tokio::sync::Mutex::new(0), Default::default());
        Self { shared: Arc::new(Shared { state, next, changed, ends }) }
    }

    async fn propose(&self, command: Command) -> Result<Reply, StoreError> {
        let mut next = self.shared.next.lock().await;
        let applied = self.shared.state.apply(&[entry(*next, command)])?.remove(0);
        *next += 1;
        self.shared.changed.send_replace(applied.revision);
        match applied.reply {
            Reply::Refused(error) => Err(error),
            reply => Ok(reply),
        }
    }

    async fn reach(&self, at: ReadAt) -> Result<Option<Revision>, StoreError> {
        let ReadAt::Revision(revision) = at else { return Ok(None) };
        self.wait_applied(revision, FUTURE_READ_TIMEOUT).await?;
        Ok(Some(revision))
    }
}

#[async_trait]
impl Store for EngineStore {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        match self.propose(Command::Txn(txn)).await? {
            Reply::Txn(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        let at = self.reach(at).await?;
        let (kv, revision) = self.shared.state.get(key, at)?;
        Ok(GetReply { kv, revision })
    }

    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        let at = self.reach(range.at).await?;
        self.shared.state.range(&range, at)
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        let next = if request.from == 0 { self.applied_revision() + 1 } else { request.from };
        let changed = self.shared.changed.subscribe();
        Ok(Box::new(EngineWatch { shared: self.shared.clone(), changed, next, request }))
    }

    async fn lease_grant_as(&self, id: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).expect("short");
        let grant = Command::LeaseGrant { request: None, id, ttl_ms };
        let Reply::Lease(id) = self.propose(grant).await? else { panic!() };
        self.shared.ends.lock().insert(id, Instant::now() + ttl);
        tokio::spawn(expire(self.clone(), id, ttl));
        Ok(id)
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let Reply::Renewed { ttl_ms } = self.propose(Command::LeaseRenew { lease }).await? else { panic!() };
        let ttl = Duration::from_millis(ttl_ms);
        self.shared.ends.lock().insert(lease, Instant::now() + ttl);
        Ok(ttl)
    }

    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        let found = self.shared.state.lease(lease).ok_or(StoreError::LeaseNotFound(lease))?;
        let end = self.shared.ends.lock()[&lease];
        Ok(LeaseInfo {
            id: lease,
            ttl: Duration::from_millis(found.ttl_ms),
            remaining: end.saturating_duration_since(Instant::now()),
            keys: found.keys.into_iter().collect(),
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        Ok(self.shared.state.lease_ids())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.propose(Command::LeaseRevoke { lease, only_if_renewals: None }).await.map(drop)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.propose(Command::Compact { revision }).await?;
        // Open watches meet the mark, and every check runs with the garbage gone.
        while self.shared.state.collect_garbage(3)? {}
        Ok(())
    }

    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        Ok(self.applied_revision())
    }

    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        let mut changed = self.shared.changed.subscribe();
        let reached = tokio::time::timeout(timeout, changed.wait_for(|applied| *applied >= revision)).await;
        reached
            .map(drop)
            .map_err(|_| StoreError::FutureRevision { requested: revision, current: self.applied_revision() })
    }

    fn applied_revision(&self) -> Revision {
        self.shared.state.revision()
    }

    fn status(&self) -> StoreStatus {
        let (revision, state_hash) = self.shared.state.revision_and_hash();
        StoreStatus {
            id: 1,
            cluster_id: "engine".into(),
            leader: Some(1),
            revision,
            state_hash,
            compacted_revision: self.shared.state.compacted(),
            disk_bytes: self.shared.state.disk_bytes(),
            members: vec![Member { id: 1, voter: true, ..Member::default() }],
            ..StoreStatus::default()
        }
    }
}

async fn expire(store: EngineStore, lease: LeaseId, ttl: Duration) {
    let renewals = || {
        let leases = store.shared.state.leases().expect("leases");
        leases.iter().find(|l| l.id == lease).map(|l| l.renewals)
    };
    let mut seen = renewals();
    while let Some(renewed) = seen {
        tokio::time::sleep(ttl).await;
        // Refused when it was renewed meanwhile.
        let revoke = Command::LeaseRevoke { lease, only_if_renewals: Some(renewed) };
        let _ = store.propose(revoke).await;
        seen = renewals();
    }
}

struct EngineWatch {
    shared: Arc<Shared>,
    changed: watch::Receiver<Revision>,
    next: Revision,
    request: WatchRequest,
}

#[async_trait]
impl WatchStream for EngineWatch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            self.changed.borrow_and_update();
            let revisions = self.shared.state.events(self.next - 1, Revision::MAX, 500)?;
            if let Some((revision, _)) = revisions.last() {
                let revision = *revision;
                self.next = revision + 1;
                let inside = |e: &Event| in_range(&e.kv().key, &self.request.start, &self.request.end);
                let events = revisions.into_iter().flat_map(|(_, events)| events).filter(inside).collect();
                return Ok(WatchBatch { revision, events });
            }
            self.changed.changed().await.expect("the store lives on");
        }
    }
}
