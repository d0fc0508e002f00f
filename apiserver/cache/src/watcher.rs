//! A cursor into the event window of one resource.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_machinery::GroupResource;
use store_api::Revision;
use tokio::sync::watch;

use crate::resource::ResourceCache;
use crate::{Cache, CacheError, CacheEvent};

/// At most about so many events are handed out at once; the rest waits in the window.
const EVENTS_AT_ONCE: usize = 1_000;

/// A cursor into the events of one resource.
pub struct Watcher {
    cache: Arc<Cache>,
    resource: Arc<ResourceCache>,
    changed: watch::Receiver<u64>,
    namespace: Option<Arc<str>>,
    /// Events up to this revision are not wanted, even when they are applied later.
    after: Revision,
    seq: u64,
    position: Revision,
}

impl Watcher {
    pub(crate) fn open(
        cache: Arc<Cache>,
        resource: &GroupResource,
        namespace: Option<&str>,
        after: Revision,
    ) -> Result<Self, CacheError> {
        let resource = cache.resource(resource);
        let changed = resource.changed.subscribe();
        let seq = {
            let state = resource.state.read();
            let expired = CacheError::Expired { requested: after, oldest: state.floor() };
            state.seek(after).ok_or(expired)?
        };
        Ok(Self { cache, resource, changed, namespace: namespace.map(Arc::from), after, seq, position: after })
    }

    /// The next events, at least one; waits. Cancel-safe.
    ///
    /// All events of one revision are in one answer.
    pub async fn next(&mut self) -> Result<Vec<CacheEvent>, CacheError> {
        loop {
            self.changed.borrow_and_update();
            let events = self.read()?;
            if !events.is_empty() {
                self.resource.meters.dispatched.increment(events.len() as u64);
                return Ok(events);
            }
            if let Some(why) = self.cache.closed() {
                return Err(CacheError::Closed(why));
            }
            if self.changed.changed().await.is_err() {
                return Err(CacheError::Closed("the cache is gone".to_owned()));
            }
        }
    }

    fn read(&mut self) -> Result<Vec<CacheEvent>, CacheError> {
        let state = self.resource.state.read();
        let (namespace, after) = (self.namespace.as_deref(), self.after);
        let wanted = |event: &CacheEvent| {
            event.revision > after && namespace.is_none_or(|namespace| &*event.object.key.namespace == namespace)
        };
        let Some(found) = state.read(self.seq, EVENTS_AT_ONCE, wanted) else {
            return Err(CacheError::Expired { requested: self.position, oldest: state.floor() });
        };
        let end = self.cache.revision.load(Ordering::Acquire).max(state.newest());
        self.position = self.position.max(found.stopped_at.unwrap_or(end));
        self.seq = found.next_seq;
        Ok(found.events)
    }

    /// Everything up to this revision has been returned or concerns other objects: what a bookmark says.
    pub fn position(&self) -> Revision {
        let state = self.resource.state.read();
        let caught_up = state.seek_end() == self.seq;
        let end = self.cache.revision.load(Ordering::Acquire).max(state.newest());
        if caught_up { self.position.max(end) } else { self.position }
    }
}
