//! A write whose outcome nobody knows may still happen: what it makes is not made again.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Cluster, deployment};
use async_trait::async_trait;
use parking_lot::Mutex;
use store_api::mem::MemStore;
use store_api::{
    DynStore, GetReply, LeaseId, LeaseInfo, Op, RangeReply, RangeRequest, ReadAt, RequestId, Revision, Store,
    StoreError, StoreStatus, Txn, TxnReply, WatchRequest, WatchStream,
};
use tokio::sync::RwLock;

/// Longer than a request is sent again and again.
const LATE: Duration = Duration::from_secs(4);

/// The first pod it is asked to write comes late: until then all writes wait, and this one's outcome is not known.
struct Doubtful {
    inner: DynStore,
    doomed: Mutex<Option<RequestId>>,
    gate: Arc<RwLock<()>>,
}

impl Doubtful {
    /// Whether this is the write of doubt; the first time it is sent on its way.
    async fn is_doomed(&self, txn: &Txn) -> bool {
        let writes_pod =
            txn.success.iter().any(|op| matches!(op, Op::Put { key, .. } if key.starts_with(b"/registry/core/pods/")));
        if !writes_pod {
            return false;
        }
        let known = *self.doomed.lock();
        if known.is_some() {
            return known == txn.request;
        }
        *self.doomed.lock() = txn.request;
        let gate = self.gate.clone().write_owned().await;
        let (inner, late) = (self.inner.clone(), txn.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            inner.txn(late).await.expect("written after all");
            drop(gate);
        });
        true
    }
}

#[async_trait]
impl Store for Doubtful {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        if self.is_doomed(&txn).await {
            return Err(StoreError::Unknown("a test".to_owned()));
        }
        let _open = self.gate.read().await;
        self.inner.txn(txn).await
    }
    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        self.inner.get(key, at).await
    }
    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        self.inner.range(range).await
    }
    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        self.inner.watch(watch).await
    }
    async fn lease_grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant_as(lease, ttl).await
    }
    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.inner.lease(lease).await
    }
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.inner.leases().await
    }
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.inner.lease_renew(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }
    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        self.inner.read_barrier().await
    }
    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        self.inner.wait_applied(revision, timeout).await
    }
    fn applied_revision(&self) -> Revision {
        self.inner.applied_revision()
    }
    fn status(&self) -> StoreStatus {
        self.inner.status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_made_is_not_made_again() {
    let store = Doubtful { inner: Arc::new(MemStore::new()), doomed: Mutex::new(None), gate: Arc::default() };
    let cluster = Cluster::over(Arc::new(store)).await;
    let _replica = cluster.replica("one").await;
    cluster.nodes(1).await;
    cluster.create("apps/v1/deployments", "default/", deployment("web", 3, "web:1")).await;
    cluster
        .eventually("all are there", || async {
            let pods = cluster.list("v1/pods", "default").await;
            pods.iter().filter(|pod| pod["spec"]["nodeName"] == "node-0").count() == 3
        })
        .await;
    assert_eq!(cluster.history_of_pods().await, (3, 0), "made and deleted");
}
