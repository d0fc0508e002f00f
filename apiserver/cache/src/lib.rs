//! The one cache: current objects, a window of events, fan-out and bookmarks.
//!
//! Each replica has one. It is filled by one watch on the store's registry prefix, in revision
//! order, and everything of the process reads it: HTTP lists and watches, controllers, the
//! scheduler. An object version is kept once, as the JSON bytes that are sent; its parsed and typed
//! forms are made at most once, on demand. A watch is a cursor into the resource's event window:
//! publishing costs the same for one watcher as for thousands, and a slow one that falls out of the
//! window gets `Expired`.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api_machinery::{GroupResource, ObjectKey, Value};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use store_api::{DynStore, Revision};

/// One version of one object.
pub struct Object {
    pub key: ObjectKey,
    pub revision: Revision,
    /// Ready to send: JSON in the stored version, with `metadata.resourceVersion`.
    pub json: Bytes,
    value: OnceLock<Arc<Value>>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    pub fn new(key: ObjectKey, revision: Revision, json: Bytes) -> Self {
        Self { key, revision, json, value: OnceLock::new(), typed: OnceLock::new() }
    }
    /// Parsed once, then shared.
    pub fn value(&self) -> Arc<Value> {
        todo!()
    }
    /// Decoded once into its `k8s-openapi` type, then shared. `None` when the bytes do not fit the type
    /// (or another type was asked for first).
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let any = self.typed.get_or_init(|| match serde_json::from_slice::<T>(&self.json) {
            Ok(value) => Arc::new(value),
            Err(error) => Arc::new(error.to_string()),
        });
        any.clone().downcast().ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object. For `Deleted`, `object` is the last state with the revision of the deletion.
#[derive(Clone)]
pub struct CacheEvent {
    pub kind: EventKind,
    pub revision: Revision,
    pub object: Arc<Object>,
    /// The state before, for selectors that an object enters or leaves.
    pub previous: Option<Arc<Object>>,
}

/// A consistent list at one revision.
pub struct Listing {
    /// In key order (namespace, then name).
    pub objects: Vec<Arc<Object>>,
    pub revision: Revision,
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The revision is older than the window: 410, list anew.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired { requested: Revision, oldest: Revision },
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge { requested: Revision, current: Revision },
    #[error("the cache is closed: {0}")]
    Closed(String),
}

/// Limits of the event window.
#[derive(Clone, Copy, Debug)]
pub struct CacheConfig {
    /// Events kept per resource, at most.
    pub window_events: usize,
    /// Bytes of events kept per resource, at most; at least `window_age` is kept while within it.
    pub window_bytes: usize,
    pub window_age: Duration,
}

pub struct Cache {
    _private: (),
}

impl Cache {
    /// Lists the registry prefix, then follows it. Returns once the first list is in; a background task
    /// keeps following (and lists anew when the store says `Compacted`).
    pub async fn start(_store: DynStore, _config: CacheConfig) -> Result<Arc<Self>, store_api::StoreError> {
        todo!()
    }
    /// Everything up to here is shown.
    pub fn revision(&self) -> Revision {
        todo!()
    }
    /// Waits until `revision` is shown.
    pub async fn wait_for(&self, _revision: Revision, _timeout: Duration) -> Result<(), CacheError> {
        todo!()
    }
    pub fn get(&self, _key: &ObjectKey) -> Option<Arc<Object>> {
        todo!()
    }
    /// All objects of a resource, or of one namespace of it.
    pub fn list(&self, _resource: &GroupResource, _namespace: Option<&str>) -> Listing {
        todo!()
    }
    /// Pods of one node, from the index (objects of `pods` by `spec.nodeName`).
    pub fn pods_on_node(&self, _node: &str) -> Listing {
        todo!()
    }
    /// Number of objects per resource, for metrics and quota.
    pub fn count(&self, _resource: &GroupResource) -> usize {
        todo!()
    }
    /// Events of a resource (or namespace) with a revision greater than `after`.
    pub fn watch(
        self: &Arc<Self>,
        _resource: &GroupResource,
        _namespace: Option<&str>,
        _after: Revision,
    ) -> Result<Watcher, CacheError> {
        todo!()
    }
}

/// A cursor into the events of one resource.
pub struct Watcher {
    _private: (),
}

impl Watcher {
    /// The next events, at least one; waits. Cancel-safe.
    pub async fn next(&mut self) -> Result<Vec<CacheEvent>, CacheError> {
        todo!()
    }
    /// Everything up to this revision has been returned or concerns other objects: what a bookmark says.
    pub fn position(&self) -> Revision {
        todo!()
    }
}
