//! The one cache: current objects, a window of events, fan-out and bookmarks.
//!
//! Each replica has one. It is filled by one watch on the store's registry prefix, in revision
//! order, and everything of the process reads it: HTTP lists and watches, controllers, the
//! scheduler. An object version is kept once, as the JSON bytes that are sent; its parsed and typed
//! forms are made on demand, and kept only where many ask for them. A watch is a cursor into the resource's
//! event window: publishing costs the same for one watcher as for thousands, those are woken whom a change
//! concerns, and a slow one that falls out of the window gets `Expired`.

mod follow;
mod index;
mod object;
mod resource;
mod state;
mod topics;
mod watcher;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api_machinery::{GroupResource, ObjectKey};
use parking_lot::RwLock;
use store_api::{DynStore, Revision};
use tokio::sync::watch;
use tokio::time::Instant;

pub use object::Object;
use resource::ResourceCache;
pub use watcher::{Filter, Interest, Watcher};

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
    /// In the order of the store's keys, `NAMESPACE/NAME` by byte.
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
    /// Bytes that the window of a resource holds besides the current objects, at most.
    pub window_bytes: usize,
    pub window_age: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { window_events: 20_000, window_bytes: 32 << 20, window_age: Duration::from_secs(600) }
    }
}

type Resources = HashMap<GroupResource, Arc<ResourceCache>>;

pub struct Cache {
    resources: RwLock<Resources>,
    /// The last list's revision: what a resource that no event has touched since starts from.
    base: AtomicU64,
    /// Everything up to here is shown.
    revision: AtomicU64,
    /// `revision`, to wait on. Its receivers end when the cache closes.
    shown: watch::Sender<Revision>,
    closed: RwLock<Option<String>>,
    config: CacheConfig,
}

impl Cache {
    /// Lists the registry prefix, then follows it. Returns once the first list is in; a background task
    /// keeps following (and lists anew when the store says `Compacted`).
    pub async fn start(store: DynStore, config: CacheConfig) -> Result<Arc<Self>, store_api::StoreError> {
        let cache = Arc::new(Self {
            resources: RwLock::default(),
            base: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            shown: watch::Sender::new(0),
            closed: RwLock::default(),
            config,
        });
        follow::start(&cache, store).await?;
        Ok(cache)
    }

    /// Everything up to here is shown.
    pub fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Waits until `revision` is shown.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), CacheError> {
        if self.revision() >= revision {
            return Ok(());
        }
        let began = Instant::now();
        let mut shown = self.shown.subscribe();
        let done = tokio::time::timeout(timeout, async {
            loop {
                if self.revision() >= revision {
                    return Ok(());
                }
                if let Some(why) = self.closed() {
                    return Err(CacheError::Closed(why));
                }
                if shown.changed().await.is_err() {
                    return Err(CacheError::Closed("the cache is gone".to_owned()));
                }
            }
        })
        .await;
        metrics::histogram!("apiserver_watch_cache_read_wait_seconds").record(began.elapsed().as_secs_f64());
        done.unwrap_or_else(|_| Err(CacheError::TooLarge { requested: revision, current: self.revision() }))
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.known(&key.resource)?.state.read().get(&key.namespace, &key.name)
    }

    /// One object as a list of at most one.
    pub fn find(&self, key: &ObjectKey) -> Listing {
        let pick = |state: &state::State| state.get(&key.namespace, &key.name).into_iter().collect();
        self.resource(&key.resource).listing(&self.revision, pick)
    }

    /// All objects of a resource, or of one namespace of it.
    pub fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Listing {
        self.resource(resource).listing(&self.revision, |state| state.list(namespace))
    }

    /// Pods of one node, from the index (objects of `pods` by `spec.nodeName`).
    pub fn pods_on_node(&self, node: &str) -> Listing {
        self.resource(&GroupResource::new("", "pods")).listing(&self.revision, |state| state.on_node(node))
    }

    /// Number of objects per resource, for metrics and quota.
    pub fn count(&self, resource: &GroupResource) -> usize {
        self.known(resource).map_or(0, |resource| resource.state.read().len())
    }

    /// Number of objects of a resource, and their bytes as they are sent, for flow control.
    pub fn size(&self, resource: &GroupResource) -> (u64, u64) {
        self.known(resource).map_or((0, 0), |resource| {
            let state = resource.state.read();
            (state.len() as u64, state.object_bytes())
        })
    }

    /// Events of a resource (or namespace) with a revision greater than `after`.
    pub fn watch(
        self: &Arc<Self>,
        resource: &GroupResource,
        namespace: Option<&str>,
        after: Revision,
    ) -> Result<Watcher, CacheError> {
        self.watch_for(resource, Interest::of(namespace), after)
    }

    /// Events of a resource that concern an interest.
    pub fn watch_for(
        self: &Arc<Self>,
        resource: &GroupResource,
        interest: Interest,
        after: Revision,
    ) -> Result<Watcher, CacheError> {
        Watcher::open(self.clone(), resource, interest, after)
    }

    /// Why the cache stopped following the store; `None` while it follows.
    pub fn closed(&self) -> Option<String> {
        self.closed.read().clone()
    }

    fn known(&self, resource: &GroupResource) -> Option<Arc<ResourceCache>> {
        self.resources.read().get(resource).cloned()
    }

    /// The resource, made empty when nothing of it was ever seen.
    fn resource(&self, resource: &GroupResource) -> Arc<ResourceCache> {
        if let Some(known) = self.known(resource) {
            return known;
        }
        let mut resources = self.resources.write();
        let floor = self.base.load(Ordering::Acquire);
        resources.entry(resource.clone()).or_insert_with(|| Arc::new(ResourceCache::new(resource, floor))).clone()
    }

    /// Shows a whole list in place of everything; cursors of before are `Expired`.
    fn replace(&self, mut all: follow::Decoded, revision: Revision) {
        let mut resources = self.resources.write();
        self.base.store(revision, Ordering::Release);
        for (name, resource) in resources.iter() {
            resource.reset(all.remove(name).unwrap_or_default(), revision);
        }
        for (name, objects) in all {
            let resource = ResourceCache::new(&name, revision);
            resource.reset(objects, revision);
            resources.insert(name, Arc::new(resource));
        }
        self.revision.fetch_max(revision, Ordering::AcqRel);
        for resource in resources.values() {
            resource.wakes().wake();
        }
        self.shown.send_replace(self.revision());
    }

    fn trim(&self) {
        let resources: Vec<_> = self.resources.read().values().cloned().collect();
        let now = Instant::now();
        for resource in resources {
            resource.trim(&self.config, now);
        }
    }

    fn close(&self, why: String) {
        tracing::error!(why, "the cache stops following the store");
        *self.closed.write() = Some(why);
        for resource in self.resources.read().values() {
            resource.wakes().wake();
        }
        self.shown.send_modify(|_| {});
    }
}
