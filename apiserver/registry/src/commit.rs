//! The shell that reads one object and writes one transaction.

use std::sync::Arc;
use std::time::Duration;

use api_cache::Object;
use api_codec::depth::{MAX_DEPTH, depth};
use api_codec::stored_version;
use api_machinery::{ApiError, ObjectKey, Value};
use bytes::Bytes;
use store_api::{Compare, KeyValue, Op, OpReply, ReadAt, Revision, StoreError, Txn};

use crate::errors::from_store;
use crate::metadata::set_resource_version;
use crate::{Registry, RequestInfo};

/// A write is sent again, with the same request id, when its outcome is not known or nobody leads.
const SEND_TRIES: u32 = 6;
const SEND_PAUSE: Duration = Duration::from_millis(50);

/// The stored state that a write starts from.
#[derive(Clone)]
pub(crate) struct Current {
    /// `None`: there is none.
    pub(crate) object: Option<Arc<Value>>,
    /// Of its last write; 0 where there is none.
    pub(crate) revision: Revision,
    /// Read from the store and not only from this replica's cache: refusals may rest on it.
    pub(crate) fresh: bool,
    /// It is stored in another version than it would be today.
    pub(crate) outdated: bool,
}

impl Current {
    pub(crate) fn from_kv(kv: Option<KeyValue>) -> Result<Self, ApiError> {
        let Some(kv) = kv else { return Ok(Self { object: None, revision: 0, fresh: true, outdated: false }) };
        let mut value: Value = serde_json::from_slice(&kv.value).map_err(|_| unreadable())?;
        if !value.is_object() {
            return Err(unreadable());
        }
        let outdated = stored_version::from_stored(&mut value);
        set_resource_version(&mut value, kv.mod_revision);
        Ok(Self { object: Some(Arc::new(value)), revision: kv.mod_revision, fresh: true, outdated })
    }

    fn from_cache(object: &Object) -> Result<Self, ApiError> {
        let value = object.value();
        if !value.is_object() {
            return Err(unreadable());
        }
        Ok(Self { object: Some(value), revision: object.revision, fresh: false, outdated: false })
    }
}

/// Nothing that this server writes is, but the store is not only written by this server.
fn unreadable() -> ApiError {
    ApiError::internal("the store holds what is not an object")
}

/// What becomes of a transaction.
pub(crate) enum Outcome {
    Done(Revision),
    /// A comparison failed; the compared keys as they are, in order.
    Lost(Vec<Option<KeyValue>>),
}

/// What a transaction demands and does.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) compare: Vec<Compare>,
    pub(crate) ops: Vec<Op>,
}

/// A stored object is at most so large, as with etcd's default `--max-request-bytes`.
const MAX_OBJECT_BYTES: usize = 1024 * 1024 * 3 / 2;

impl Change {
    /// The one way into the store: what is too deep or too large to be read again is refused here, wherever it
    /// comes from.
    pub(crate) fn put(key: &ObjectKey, value: &Value, lease: store_api::LeaseId) -> Result<Op, ApiError> {
        if depth(value) > MAX_DEPTH {
            return Err(ApiError::bad_request(format!("the object is too deep: limit is {MAX_DEPTH} levels")));
        }
        let value = api_codec::stored::encode(&stored_version::to_stored(value));
        if value.len() > MAX_OBJECT_BYTES {
            return Err(ApiError::too_large(format!("Request entity too large: limit is {MAX_OBJECT_BYTES}")));
        }
        Ok(Op::Put { key: key.store_key().into(), value, lease })
    }
}

impl Registry {
    /// The object from the cache when it is there, else from the store.
    pub(crate) async fn current(&self, key: &ObjectKey) -> Result<Current, ApiError> {
        match self.cache.get(key) {
            Some(object) => Current::from_cache(&object),
            None => self.fresh(key).await,
        }
    }

    pub(crate) async fn fresh(&self, key: &ObjectKey) -> Result<Current, ApiError> {
        let reply = self.store.get(key.store_key().as_bytes(), ReadAt::Linearizable).await.map_err(from_store)?;
        Current::from_kv(reply.kv)
    }

    /// Runs a transaction. The fence and the request id are added here.
    pub(crate) async fn commit(&self, info: &RequestInfo, change: Change) -> Result<Outcome, ApiError> {
        self.try_commit(info, change).await.map_err(from_store)
    }

    pub(crate) async fn try_commit(&self, info: &RequestInfo, change: Change) -> Result<Outcome, StoreError> {
        let failure = change.compare.iter().map(|compare| Op::Get { key: compare.key.clone() }).collect();
        let txn = Txn {
            request: Some(self.requests.next()),
            fence: info.fence.clone(),
            compare: change.compare,
            success: change.ops,
            failure,
            want_previous: false,
        };
        let reply = self.send(txn).await?;
        if reply.succeeded {
            return Ok(Outcome::Done(reply.revision));
        }
        let read = |reply: OpReply| match reply {
            OpReply::Got(kv) => kv,
            _ => None,
        };
        Ok(Outcome::Lost(reply.replies.into_iter().map(read).collect()))
    }

    async fn send(&self, txn: Txn) -> Result<store_api::TxnReply, StoreError> {
        let mut pause = SEND_PAUSE;
        for _ in 1..SEND_TRIES {
            match self.store.txn(txn.clone()).await {
                Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => tokio::time::sleep(pause).await,
                other => return other,
            }
            pause *= 2;
        }
        self.store.txn(txn).await
    }
}

/// The comparison that nobody wrote the key since it was read.
pub(crate) fn unchanged(key: &ObjectKey, revision: Revision) -> Compare {
    Compare::unchanged_since(Bytes::from(key.store_key()), revision)
}
