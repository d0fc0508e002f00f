//! Watch: a cursor into the cache's events with selectors applied, initial events and bookmarks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api_cache::{Cache, CacheEvent, EventKind, Interest, Object, Watcher};
use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource};
use api_schema::Resource;
use store_api::Revision;
use tokio::time::Instant;

use crate::errors::from_cache;
use crate::read::FRESHNESS_TIMEOUT;
use crate::select::Selection;
use crate::{Registry, Target, WatchOptions, convert};

/// Upstream's: about every minute, and shortly before the watch ends.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Initial events handed out at once.
const INITIAL_AT_ONCE: usize = 500;
/// A watch without an end, and the longest that a client may ask for: no clock can tell what comes later.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

pub enum WatchItem {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Nothing that matches was written up to here; `initial_end` marks the end of the initial events.
    Bookmark {
        revision: Revision,
        initial_end: bool,
    },
}

/// An open watch, selectors applied.
pub struct WatchHandle {
    cursor: Cursor,
    resource: Resource,
    selection: Selection,
    initial: VecDeque<Arc<Object>>,
    /// Send a bookmark with the list's revision after the initial events.
    initial_end: Option<Revision>,
    bookmarks: Bookmarks,
}

/// Where a watch stands.
enum Cursor {
    /// It could not be opened, which a watch says as its first event, as upstream.
    Failed(ApiError),
    /// It begins at a revision that this replica has not reached, and is silent until then, as upstream.
    Ahead(Opening),
    Open(Watcher),
}

/// What a cursor is opened with.
struct Opening {
    cache: Arc<Cache>,
    storage: GroupResource,
    interest: Interest,
    after: Revision,
}

impl Opening {
    fn open(&self) -> Cursor {
        let opened = self.cache.watch_for(&self.storage, self.interest.clone(), self.after);
        opened.map_or_else(|error| Cursor::Failed(from_cache(error)), Cursor::Open)
    }
}

impl Cursor {
    /// The next events that may concern the watch. Cancel-safe.
    async fn next(&mut self) -> Result<Vec<CacheEvent>> {
        loop {
            match self {
                Cursor::Failed(error) => return Err(error.clone()),
                Cursor::Ahead(opening) => {
                    opening.cache.wait_for(opening.after, FOREVER).await.map_err(from_cache)?;
                    *self = opening.open();
                }
                Cursor::Open(watcher) => return watcher.next().await.map_err(from_cache),
            }
        }
    }

    /// What a bookmark may say.
    fn position(&self) -> Option<Revision> {
        match self {
            Cursor::Open(watcher) => Some(watcher.position()),
            Cursor::Failed(_) | Cursor::Ahead(_) => None,
        }
    }
}

/// When bookmarks are due.
struct Bookmarks {
    wanted: bool,
    next: Instant,
    end: Option<Instant>,
    last: Revision,
}

impl Bookmarks {
    fn new(wanted: bool, now: Instant, timeout: Option<Duration>) -> Self {
        let end = timeout.map(|timeout| now + timeout.min(FOREVER));
        let mut bookmarks = Self { wanted, next: now, end, last: 0 };
        bookmarks.plan(now);
        bookmarks
    }

    fn plan(&mut self, now: Instant) {
        let before_end = self.end.and_then(|end| end.checked_sub(BOOKMARK_BEFORE_END)).filter(|at| *at > now);
        let regular = now + BOOKMARK_EVERY;
        self.next = before_end.map_or(regular, |at| at.min(regular));
    }

    fn ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }
}

impl Registry {
    pub(crate) async fn open_watch(&self, target: &Target<'_>, options: WatchOptions) -> Result<WatchHandle> {
        let kind = api_kinds::of(&target.resource.storage);
        let selection = Selection::new(kind, options.label_selector, options.field_selector)?;
        let with_state = options.send_initial_events.unwrap_or(matches!(options.resource_version, None | Some(0)));
        let ready = self.watch_ready(options.resource_version, with_state).await;
        let mut handle = WatchHandle {
            cursor: Cursor::Failed(ApiError::internal("the watch was not opened")),
            resource: target.resource.clone(),
            selection,
            initial: VecDeque::new(),
            initial_end: None,
            bookmarks: Bookmarks::new(options.bookmarks, Instant::now(), options.timeout),
        };
        let Ok(()) = ready.map_err(|error| handle.cursor = Cursor::Failed(error)) else { return Ok(handle) };
        let mut opening = Opening {
            cache: self.cache.clone(),
            storage: target.resource.storage.clone(),
            interest: handle.selection.interest(target),
            after: options.resource_version.filter(|version| *version > 0).unwrap_or_else(|| self.cache.revision()),
        };
        if with_state {
            let listing = self.candidates(target, &handle.selection);
            opening.after = listing.revision;
            handle.initial = listing.objects.into_iter().filter(|object| handle.selection.matches(object)).collect();
            let marked = options.send_initial_events == Some(true) && options.bookmarks;
            handle.initial_end = marked.then_some(opening.after);
        }
        handle.cursor = if opening.after > self.cache.revision() { Cursor::Ahead(opening) } else { opening.open() };
        if matches!(handle.cursor, Cursor::Failed(_)) {
            (handle.initial, handle.initial_end) = (VecDeque::new(), None);
        }
        Ok(handle)
    }

    /// Waits until the state that a watch begins with is here. One that begins with changes waits by itself.
    async fn watch_ready(&self, version: Option<Revision>, with_state: bool) -> Result<()> {
        match version {
            None => self.barrier().await,
            Some(version) if with_state => self.cache.wait_for(version, FRESHNESS_TIMEOUT).await.map_err(from_cache),
            Some(_) => Ok(()),
        }
    }
}

impl WatchHandle {
    /// The next items in order, at least one. `Ok(vec![])`: the timeout is over, end cleanly. `Err`: send it
    /// as an ERROR event and end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Vec<WatchItem>> {
        if let Some(items) = self.next_initial() {
            return Ok(items);
        }
        let Self { cursor, bookmarks, selection, resource, .. } = self;
        let forever = Instant::now() + FOREVER;
        loop {
            let now = Instant::now();
            if bookmarks.ended(now) {
                return Ok(Vec::new());
            }
            if now >= bookmarks.next {
                bookmarks.plan(now);
                let position = cursor.position().filter(|position| *position > bookmarks.last);
                if let Some(revision) = position.filter(|_| bookmarks.wanted) {
                    bookmarks.last = revision;
                    return Ok(vec![WatchItem::Bookmark { revision, initial_end: false }]);
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(bookmarks.end.unwrap_or(forever)) => {}
                () = tokio::time::sleep_until(bookmarks.next) => {}
                events = cursor.next() => {
                    let items: Vec<_> =
                        events?.into_iter().filter_map(|event| item(event, selection, resource)).collect();
                    if !items.is_empty() {
                        return Ok(items);
                    }
                }
            }
        }
    }

    fn next_initial(&mut self) -> Option<Vec<WatchItem>> {
        if !self.initial.is_empty() {
            let count = self.initial.len().min(INITIAL_AT_ONCE);
            let resource = &self.resource;
            return Some(
                self.initial.drain(..count).map(|object| WatchItem::Added(convert::object(resource, object))).collect(),
            );
        }
        let revision = self.initial_end.take()?;
        self.bookmarks.last = revision;
        Some(vec![WatchItem::Bookmark { revision, initial_end: true }])
    }
}

/// What a change is to one who only sees what the selectors take: entering is ADDED, leaving is DELETED with
/// the last state that matched.
fn item(event: CacheEvent, selection: &Selection, resource: &Resource) -> Option<WatchItem> {
    let before = event.previous.as_ref().is_some_and(|previous| selection.matches(previous));
    let serve = |object: Arc<Object>| convert::object(resource, object);
    if event.kind == EventKind::Deleted {
        return before.then(|| WatchItem::Deleted(serve(event.object)));
    }
    match (before, selection.matches(&event.object)) {
        (false, false) => None,
        (false, true) => Some(WatchItem::Added(serve(event.object))),
        (true, true) => Some(WatchItem::Modified(serve(event.object))),
        (true, false) => {
            let left = event.previous.map_or(event.object, |previous| Arc::new(previous.at_revision(event.revision)));
            Some(WatchItem::Deleted(serve(left)))
        }
    }
}
