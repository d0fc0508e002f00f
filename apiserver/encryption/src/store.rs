//! The store around the store.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use rand::RngCore;
use store_api::{
    DynStore, Event, GetReply, KeyValue, LeaseId, LeaseInfo, Nested, Op, OpReply, RangeReply, RangeRequest, ReadAt,
    Revision, Store, StoreError, StoreStatus, Txn, TxnReply, WatchBatch, WatchRequest, WatchStream,
};

use crate::cipher::Entropy;
use crate::transformers::{Transformers, Unreadable};

/// Seals what is written and opens what is read, by the configuration in force.
///
/// A single read of a value that does not open fails; in lists and watches nothing is left of it, so that one such
/// value does not take all others along: also not of one that was never sealed, and could be read as it is. The cache
/// shows no object for it, and says so.
pub struct SealedStore {
    inner: DynStore,
    transformers: Arc<ArcSwap<Transformers>>,
}

impl SealedStore {
    pub fn new(inner: DynStore, transformers: Transformers) -> Self {
        Self { inner, transformers: Arc::new(ArcSwap::from_pointee(transformers)) }
    }

    /// From now on. What is under way finishes as it began.
    pub fn set(&self, transformers: Transformers) {
        self.transformers.store(Arc::new(transformers));
    }

    /// The store as it is on disk.
    pub(crate) fn inner(&self) -> &DynStore {
        &self.inner
    }

    pub(crate) fn transformers(&self) -> Arc<Transformers> {
        self.transformers.load_full()
    }
}

#[expect(clippy::disallowed_methods, reason = "nonces come from the operating system's randomness")]
pub(crate) fn entropy() -> Entropy {
    let mut bytes = Entropy::default();
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn refused(error: Unreadable) -> StoreError {
    StoreError::Invalid(error.to_string())
}

fn seal_all(transformers: &Transformers, ops: &mut [Op]) -> Result<(), StoreError> {
    for op in ops {
        match op {
            Op::Put { key, value, .. } | Op::Update { key, value: Some(value), .. } => seal(transformers, key, value)?,
            Op::Txn(nested) => {
                let Nested { success, failure, .. } = &mut **nested;
                seal_all(transformers, success)?;
                seal_all(transformers, failure)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn seal(transformers: &Transformers, key: &Bytes, value: &mut Bytes) -> Result<(), StoreError> {
    if let Some(sealed) = transformers.seal(key, value, &entropy()) {
        *value = sealed.map_err(refused)?.into();
    }
    Ok(())
}

/// Asks plugins for what must be known before these values can be opened. What is not learned stays unreadable.
pub(crate) async fn learn(transformers: &Transformers, kvs: impl Iterator<Item = &KeyValue> + Send) {
    for kv in kvs {
        let Some((kms, wrapped)) = transformers.missing(&kv.key, &kv.value) else { continue };
        if let Err(error) = kms.learn(wrapped).await {
            tracing::error!(error, "a key management plugin did not open a seed");
        }
    }
}

/// The versions of an event that have a value.
fn versions(event: &Event) -> impl Iterator<Item = &KeyValue> + Send {
    let (kv, previous) = match event {
        Event::Put { kv, previous } => (Some(kv), previous.as_ref()),
        Event::Delete { previous, .. } => (None, Some(previous)),
    };
    kv.into_iter().chain(previous)
}

/// Those of a reply's own operations; the API server reads nothing in nested ones.
fn read_in(reply: &OpReply) -> &[KeyValue] {
    match reply {
        OpReply::Put { previous } | OpReply::Got(previous) => previous.as_slice(),
        OpReply::Deleted { previous: kvs, .. } | OpReply::Ranged { kvs, .. } => kvs,
        OpReply::Txn { .. } => &[],
    }
}

fn open(transformers: &Transformers, kv: &mut KeyValue) -> Result<(), Unreadable> {
    if let Some(opened) = transformers.open(&kv.key, &kv.value) {
        kv.value = opened?.plain.into();
    }
    Ok(())
}

/// Leaves nothing of what does not open.
fn open_if_possible(transformers: &Transformers, kv: &mut KeyValue) {
    // Read without values.
    if kv.value.is_empty() {
        return;
    }
    if let Err(error) = open(transformers, kv) {
        metrics::counter!("kontiki_encryption_unreadable_total").increment(1);
        tracing::error!(%error, "a stored value cannot be read");
        kv.value = Bytes::new();
    }
}

fn open_replies(transformers: &Transformers, replies: &mut [OpReply]) {
    for reply in replies {
        match reply {
            OpReply::Put { previous } | OpReply::Got(previous) => {
                previous.iter_mut().for_each(|kv| open_if_possible(transformers, kv));
            }
            OpReply::Deleted { previous: kvs, .. } | OpReply::Ranged { kvs, .. } => {
                kvs.iter_mut().for_each(|kv| open_if_possible(transformers, kv));
            }
            OpReply::Txn { replies, .. } => open_replies(transformers, replies),
        }
    }
}

fn open_event(transformers: &Transformers, event: &mut Event) {
    match event {
        Event::Put { kv, previous } => {
            open_if_possible(transformers, kv);
            previous.iter_mut().for_each(|kv| open_if_possible(transformers, kv));
        }
        Event::Delete { previous, .. } => open_if_possible(transformers, previous),
    }
}

#[async_trait]
impl Store for SealedStore {
    async fn txn(&self, mut txn: Txn) -> Result<TxnReply, StoreError> {
        let transformers = self.transformers();
        seal_all(&transformers, &mut txn.success)?;
        seal_all(&transformers, &mut txn.failure)?;
        let mut reply = self.inner.txn(txn).await?;
        learn(&transformers, reply.replies.iter().flat_map(read_in)).await;
        open_replies(&transformers, &mut reply.replies);
        Ok(reply)
    }

    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        let mut reply = self.inner.get(key, at).await?;
        let transformers = self.transformers();
        learn(&transformers, reply.kv.iter()).await;
        if let Some(kv) = &mut reply.kv {
            open(&transformers, kv).map_err(refused)?;
        }
        Ok(reply)
    }

    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        let mut reply = self.inner.range(range).await?;
        let transformers = self.transformers();
        learn(&transformers, reply.kvs.iter()).await;
        reply.kvs.iter_mut().for_each(|kv| open_if_possible(&transformers, kv));
        Ok(reply)
    }

    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        let inner = self.inner.watch(watch).await?;
        Ok(Box::new(OpeningWatch { inner, transformers: self.transformers.clone() }))
    }

    async fn is_stale(&self, key: &[u8]) -> Result<bool, StoreError> {
        let transformers = self.transformers();
        if !transformers.concerns(key) {
            return Ok(false);
        }
        let Some(kv) = self.inner.get(key, ReadAt::Local).await?.kv else { return Ok(false) };
        learn(&transformers, std::iter::once(&kv)).await;
        let opened = transformers.open(key, &kv.value).transpose().map_err(refused)?;
        Ok(opened.is_some_and(|opened| opened.stale))
    }

    fn seals(&self, key: &[u8]) -> bool {
        self.transformers.load().concerns(key)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant(ttl).await
    }
    async fn lease_grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant_as(lease, ttl).await
    }
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.inner.lease_renew(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }
    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.inner.lease(lease).await
    }
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.inner.leases().await
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
    fn health(&self) -> Result<(), String> {
        self.inner.health()
    }
}

struct OpeningWatch {
    inner: Box<dyn WatchStream>,
    transformers: Arc<ArcSwap<Transformers>>,
}

#[async_trait]
impl WatchStream for OpeningWatch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        let mut batch = self.inner.next().await?;
        let transformers = self.transformers.load_full();
        learn(&transformers, batch.events.iter().flat_map(versions)).await;
        batch.events.iter_mut().for_each(|event| open_event(&transformers, event));
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use store_api::mem::MemStore;

    use super::*;
    use crate::transformers::tests::secrets_under;

    const KEY: &str = "/registry/core/secrets/default/a";
    const PLAIN: &[u8] = br#"{"data":{"a":"canary"}}"#;

    async fn raw(store: &DynStore, key: &str) -> Bytes {
        store.get(key.as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there").value
    }

    #[tokio::test]
    async fn sealed_below_and_open_above() {
        let below = MemStore::new().into_dyn();
        let store = SealedStore::new(below.clone(), secrets_under(&["aesgcm/0", "identity"]));
        let watched = WatchRequest { start: "/".into(), end: Bytes::new(), from: 2 };
        let mut watch = store.watch(watched).await.expect("a watch");
        store.txn(Txn::put(KEY, PLAIN)).await.expect("written");
        store.txn(Txn::put("/registry/core/pods/default/a", "{}")).await.expect("written");
        assert!(raw(&below, KEY).await.starts_with(b"k8s:enc:aesgcm:v1:key0:"));
        assert_eq!(raw(&below, "/registry/core/pods/default/a").await, "{}");
        assert_eq!(store.get(KEY.as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there").value, PLAIN);
        let all = store.range(RangeRequest::prefix(b"/registry/core/secrets/", ReadAt::Local)).await.expect("read");
        assert_eq!(all.kvs[0].value, PLAIN);
        let batch = watch.next().await.expect("events");
        assert_eq!(batch.events[0].kv().value, PLAIN);
        let mut delete = Txn::delete(KEY);
        delete.want_previous = true;
        let reply = store.txn(delete).await.expect("deleted");
        let OpReply::Deleted { previous, .. } = &reply.replies[0] else { panic!("{reply:?}") };
        assert_eq!(previous[0].value, PLAIN);
    }

    #[tokio::test]
    async fn one_value_that_does_not_open_does_not_hide_the_others() {
        let below = MemStore::new().into_dyn();
        let store = SealedStore::new(below.clone(), secrets_under(&["aesgcm/0"]));
        store.txn(Txn::put(KEY, PLAIN)).await.expect("written");
        // Somebody moves sealed bytes to another key, and writes some without a seal.
        let other = "/registry/core/secrets/default/b";
        below.txn(Txn::put(other, raw(&below, KEY).await)).await.expect("written");
        below.txn(Txn::put("/registry/core/secrets/default/c", PLAIN)).await.expect("written");
        let error = store.get(other.as_bytes(), ReadAt::Local).await.expect_err("unreadable").to_string();
        assert!(error.contains("unable to transform key \"/registry/core/secrets/default/b\""), "{error}");
        let all = store.range(RangeRequest::prefix(b"/registry/core/secrets/", ReadAt::Local)).await.expect("read");
        assert_eq!(all.kvs[0].value, PLAIN);
        assert!(all.kvs.len() == 3 && all.kvs[1..].iter().all(|kv| kv.value.is_empty()), "nothing is left of them");
    }

    #[tokio::test]
    async fn knows_what_was_sealed_otherwise() {
        let store = SealedStore::new(MemStore::new().into_dyn(), secrets_under(&["aesgcm/0", "identity"]));
        store.txn(Txn::put(KEY, PLAIN)).await.expect("written");
        assert!(!store.is_stale(KEY.as_bytes()).await.expect("known"));
        store.set(secrets_under(&["secretbox/1", "aesgcm/0"]));
        assert!(store.is_stale(KEY.as_bytes()).await.expect("known"));
        assert!(store.seals(KEY.as_bytes()) && !store.seals(b"/registry/core/pods/default/a"));
    }
}
