//! One resource of the cache: the state behind its lock, its wake-up, its gauges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api_machinery::GroupResource;
use metrics::{Counter, Gauge};
use parking_lot::RwLock;
use store_api::Revision;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::{Change, State};
use crate::{CacheConfig, Listing, Object};

pub(crate) struct ResourceCache {
    pub(crate) state: RwLock<State>,
    pub(crate) meters: Meters,
}

/// Those whose topics were touched.
#[must_use]
pub(crate) struct Wakes(Vec<watch::Sender<()>>);

impl Wakes {
    pub(crate) fn wake(self) {
        for sender in self.0 {
            sender.send_replace(());
        }
    }
}

/// Upstream's names where it has them.
pub(crate) struct Meters {
    pub(crate) dispatched: Counter,
    received: Counter,
    capacity: Gauge,
    revision: Gauge,
    objects: Gauge,
    window_bytes: Gauge,
}

impl Meters {
    fn new(resource: &GroupResource) -> Self {
        let labels = [("group", resource.group.to_string()), ("resource", resource.resource.to_string())];
        metrics::counter!("apiserver_watch_cache_initializations_total", &labels).increment(1);
        Self {
            dispatched: metrics::counter!("apiserver_watch_cache_events_dispatched_total", &labels),
            received: metrics::counter!("apiserver_watch_cache_events_received_total", &labels),
            capacity: metrics::gauge!("watch_cache_capacity", &labels),
            revision: metrics::gauge!("apiserver_watch_cache_resource_version", &labels),
            objects: metrics::gauge!("kontiki_cache_objects", &labels),
            window_bytes: metrics::gauge!("kontiki_cache_window_bytes", &labels),
        }
    }
}

impl ResourceCache {
    pub(crate) fn new(resource: &GroupResource, floor: Revision) -> Self {
        Self { state: RwLock::new(State::new(floor)), meters: Meters::new(resource) }
    }

    /// Applies all changes of one batch under one lock, so that no reader sees a part of a revision. Answers whom
    /// to wake once it is shown.
    pub(crate) fn apply(&self, changes: Vec<Change>, config: &CacheConfig, now: Instant) -> Wakes {
        self.meters.received.increment(changes.len() as u64);
        let mut state = self.state.write();
        for change in changes {
            state.apply(change, now);
        }
        state.trim(config, now);
        self.gauge(&state);
        Wakes(state.topics.take_touched())
    }

    pub(crate) fn trim(&self, config: &CacheConfig, now: Instant) {
        let mut state = self.state.write();
        state.trim(config, now);
        self.gauge(&state);
    }

    pub(crate) fn reset(&self, objects: Vec<Arc<Object>>, floor: Revision) {
        let mut state = self.state.write();
        state.reset(objects, floor);
        self.gauge(&state);
    }

    /// Everybody who follows anything of the resource.
    pub(crate) fn wakes(&self) -> Wakes {
        Wakes(self.state.write().topics.senders())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn gauge(&self, state: &State) {
        self.meters.capacity.set(state.window_len() as f64);
        self.meters.revision.set(state.newest() as f64);
        self.meters.objects.set(state.len() as f64);
        self.meters.window_bytes.set(state.window_bytes() as f64);
    }

    /// A list and the revision it is exact at: everything up to `shown` is applied here, and a batch that is
    /// being applied is here as a whole or not at all.
    pub(crate) fn listing(&self, shown: &AtomicU64, pick: impl FnOnce(&State) -> Vec<Arc<Object>>) -> Listing {
        let state = self.state.read();
        let revision = shown.load(Ordering::Acquire).max(state.newest());
        Listing { objects: pick(&state), revision }
    }
}
