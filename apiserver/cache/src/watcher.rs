//! A cursor into the event window of one resource.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_machinery::GroupResource;
use store_api::Revision;
use tokio::sync::watch;

use crate::resource::ResourceCache;
use crate::topics::Topic;
use crate::{Cache, CacheError, CacheEvent, Object};

/// Whether a state of an object concerns a cursor. Asked while the resource is locked, so it must be quick: of keys,
/// labels and the node, not of what needs parsing.
pub type Filter = Arc<dyn Fn(&Object) -> bool + Send + Sync>;

/// What a cursor is for: it is woken by, and looks at, not much more than that.
#[derive(Clone, Default)]
pub struct Interest {
    /// Objects of one namespace; the empty one for a name that is cluster-scoped.
    pub namespace: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    /// Objects that are on a node, or were until the change.
    pub node: Option<Arc<str>>,
    /// Changes with a state before or after that this takes.
    pub filter: Option<Filter>,
}

impl Interest {
    /// Everything, or everything of a namespace.
    pub fn of(namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(Arc::from), ..Self::default() }
    }

    fn takes(&self, event: &CacheEvent) -> bool {
        let key = &event.object.key;
        let states = || std::iter::once(&event.object).chain(&event.previous);
        self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.filter.as_ref().is_none_or(|filter| states().any(|object| filter(object)))
    }
}

/// A cursor into the events of one resource.
pub struct Watcher {
    cache: Arc<Cache>,
    resource: Arc<ResourceCache>,
    changed: watch::Receiver<()>,
    topic: Topic,
    interest: Interest,
    /// Events up to this revision are not wanted, even when they are applied later.
    after: Revision,
    seq: u64,
    position: Revision,
}

impl Watcher {
    pub(crate) fn open(
        cache: Arc<Cache>,
        resource: &GroupResource,
        interest: Interest,
        after: Revision,
    ) -> Result<Self, CacheError> {
        let resource = cache.resource(resource);
        let topic = Topic::of(&interest);
        let (seq, changed) = {
            let mut state = resource.state.write();
            let expired = CacheError::Expired { requested: after, oldest: state.floor() };
            let (seq, end) = (state.seek(after).ok_or(expired)?, state.end_seq());
            (seq, state.topics.follow(&topic, end))
        };
        Ok(Self { cache, resource, changed, topic, interest, after, seq, position: after })
    }

    /// The next events, at least one; waits. Cancel-safe.
    ///
    /// All events of one revision are in one answer.
    pub async fn next(&mut self) -> Result<Vec<CacheEvent>, CacheError> {
        loop {
            self.changed.borrow_and_update();
            let (events, more) = self.read()?;
            if !events.is_empty() {
                self.resource.meters.dispatched.increment(events.len() as u64);
                return Ok(events);
            }
            if let Some(why) = self.cache.closed() {
                return Err(CacheError::Closed(why));
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            if self.changed.changed().await.is_err() {
                return Err(CacheError::Closed("the cache is gone".to_owned()));
            }
        }
    }

    /// Events, and whether there is more to look at.
    fn read(&mut self) -> Result<(Vec<CacheEvent>, bool), CacheError> {
        let state = self.resource.state.read();
        let (interest, after) = (&self.interest, self.after);
        let wanted = |event: &CacheEvent| event.revision > after && interest.takes(event);
        let Some(found) = state.read(&self.topic, self.seq, wanted) else {
            return Err(CacheError::Expired { requested: self.position, oldest: state.floor() });
        };
        let end = self.cache.revision.load(Ordering::Acquire).max(state.newest());
        self.position = self.position.max(found.stopped_at.unwrap_or(end));
        self.seq = found.next_seq;
        Ok((found.events, found.stopped_at.is_some()))
    }

    /// Everything up to this revision has been returned or concerns other objects: what a bookmark says.
    pub fn position(&self) -> Revision {
        let state = self.resource.state.read();
        let end = self.cache.revision.load(Ordering::Acquire).max(state.newest());
        if state.is_caught_up(&self.topic, self.seq) { self.position.max(end) } else { self.position }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.resource.state.write().topics.unfollow(&self.topic);
    }
}
