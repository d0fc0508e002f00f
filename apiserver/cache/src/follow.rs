//! The task that fills the cache: one list, then one watch, for as long as the process lives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::resource::REGISTRY_PREFIX;
use api_machinery::{GroupResource, ObjectKey};
use store_api::{
    DynStore, Event, KeyValue, RangeRequest, ReadAt, Revision, StoreError, WatchRequest, WatchStream, prefix_end,
};
use tokio::time::Instant;

use crate::state::Change;
use crate::{Cache, Object};

/// After a start, so many revisions of history are played back into the windows, so that watches of
/// before the start resume here.
const REPLAYED_REVISIONS: u64 = 10_000;
/// Compactions may come between the look where history begins and the list there. After so many it is done without.
const REPLAY_TRIES: usize = 16;
/// Keys per read of a list.
const LIST_PAGE: usize = 2_000;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often windows are looked through for events that are too old.
const TRIM_EVERY: Duration = Duration::from_secs(15);

/// Fills the cache for the first time and leaves a task that keeps following.
pub(crate) async fn start(cache: &Arc<Cache>, store: DynStore) -> Result<(), StoreError> {
    let goal = store.applied_revision();
    let watch = list_and_replay(cache, &store).await?;
    let mut follower = Follower { cache: Arc::downgrade(cache), store, watch, names: Names::default() };
    while cache.revision() < goal {
        follower.step(cache).await?;
    }
    tokio::spawn(follower.run());
    Ok(())
}

async fn list_and_replay(cache: &Cache, store: &DynStore) -> Result<Box<dyn WatchStream>, StoreError> {
    for _ in 0..REPLAY_TRIES {
        match list_and_watch(cache, store, replay_from(store)).await {
            Err(StoreError::Compacted { .. }) => {}
            opened => return opened,
        }
    }
    list_and_watch(cache, store, None).await
}

/// An older revision to list at, so that the watch plays back what came after it. In a young cluster that is
/// its first: nobody can have seen an older one.
fn replay_from(store: &DynStore) -> Option<Revision> {
    let status = store.status();
    let from = store.applied_revision().saturating_sub(REPLAYED_REVISIONS).max(status.compacted_revision).max(1);
    (from < store.applied_revision()).then_some(from)
}

/// Replaces everything by a list (of the newest state, or of a revision), and opens a watch after it.
async fn list_and_watch(
    cache: &Cache,
    store: &DynStore,
    at: Option<Revision>,
) -> Result<Box<dyn WatchStream>, StoreError> {
    let (kvs, revision) = list(store, at).await?;
    cache.replace(decode_all(&kvs), revision);
    watch_after(store, revision).await
}

async fn watch_after(store: &DynStore, revision: Revision) -> Result<Box<dyn WatchStream>, StoreError> {
    let start = REGISTRY_PREFIX.as_bytes();
    let request = WatchRequest { start: start.to_vec().into(), end: prefix_end(start), from: revision + 1 };
    store.watch(request).await
}

async fn list(store: &DynStore, at: Option<Revision>) -> Result<(Vec<KeyValue>, Revision), StoreError> {
    let at = at.map_or(ReadAt::Local, ReadAt::Revision);
    let mut request = RangeRequest::prefix(REGISTRY_PREFIX.as_bytes(), at);
    request.limit = LIST_PAGE;
    request.count = false;
    let mut kvs: Vec<KeyValue> = Vec::new();
    loop {
        let reply = store.range(request.clone()).await?;
        request.at = ReadAt::Revision(reply.revision);
        let last = reply.kvs.last().map(|kv| kv.key.clone());
        kvs.extend(reply.kvs);
        match last {
            Some(last) if reply.more => request.start = [&last[..], &[0]].concat().into(),
            _ => return Ok((kvs, reply.revision)),
        }
    }
}

/// Objects by resource.
pub(crate) type Decoded = HashMap<GroupResource, Vec<Arc<Object>>>;

/// Names of resources, each held once however many objects have it.
#[derive(Default)]
struct Names(HashSet<GroupResource>);

impl Names {
    fn shared(&mut self, name: GroupResource) -> GroupResource {
        if let Some(own) = self.0.get(&name) {
            return own.clone();
        }
        self.0.insert(name.clone());
        name
    }
}

fn decode_all(kvs: &[KeyValue]) -> Decoded {
    let (mut all, mut names) = (Decoded::new(), Names::default());
    for kv in kvs {
        if let Some(object) = decode(&mut names, &kv.key, kv.mod_revision, &kv.value) {
            all.entry(object.key.resource.clone()).or_default().push(object);
        }
    }
    all
}

/// One object from the store, with what selectors and indexes ask of it. What is not an object is not shown, but said.
fn decode(names: &mut Names, key: &[u8], revision: Revision, value: &[u8]) -> Option<Arc<Object>> {
    let object = parsed(names, key).and_then(|key| Object::from_stored(key, revision, value));
    let Some(object) = object else {
        tracing::error!(key = %String::from_utf8_lossy(key), revision, "the store holds what is not an object");
        metrics::counter!("kontiki_cache_undecodable_total").increment(1);
        return None;
    };
    object.index();
    Some(Arc::new(object))
}

fn parsed(names: &mut Names, key: &[u8]) -> Option<ObjectKey> {
    let key = std::str::from_utf8(key).ok().and_then(ObjectKey::from_store_key)?;
    Some(ObjectKey { resource: names.shared(key.resource), ..key })
}

/// The changes of a batch, by resource. `Deleted` objects are the last state with the deletion's revision.
fn changes(names: &mut Names, events: Vec<Event>) -> HashMap<GroupResource, Vec<Change>> {
    let mut all: HashMap<GroupResource, Vec<Change>> = HashMap::new();
    for event in events {
        let (kv, value, change): (_, _, fn(Arc<Object>) -> Change) = match &event {
            Event::Put { kv, .. } => (kv, &kv.value, Change::Put),
            Event::Delete { kv, previous } => (kv, &previous.value, Change::Delete),
        };
        let change = decode(names, &kv.key, kv.mod_revision, value).map(change);
        let lost = || Some(Change::Lost(parsed(names, &kv.key)?, kv.mod_revision));
        if let Some(change) = change.or_else(lost) {
            all.entry(change.key().resource.clone()).or_default().push(change);
        }
    }
    all
}

struct Follower {
    /// Weak: the task ends when nobody uses the cache.
    cache: std::sync::Weak<Cache>,
    store: DynStore,
    watch: Box<dyn WatchStream>,
    names: Names,
}

impl Follower {
    async fn run(mut self) {
        let mut trim = tokio::time::interval(TRIM_EVERY);
        trim.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                batch = self.watch.next() => Some(batch),
                _ = trim.tick() => None,
            };
            let Some(cache) = self.cache.upgrade() else { return };
            let failed = match step {
                None => {
                    cache.trim();
                    continue;
                }
                Some(Ok(batch)) => {
                    show(&cache, &mut self.names, batch);
                    continue;
                }
                Some(Err(error)) => error,
            };
            if let Err(why) = self.recover(&cache, failed).await {
                cache.close(why);
                return;
            }
        }
    }

    async fn step(&mut self, cache: &Cache) -> Result<(), StoreError> {
        let batch = self.watch.next().await?;
        show(cache, &mut self.names, batch);
        Ok(())
    }

    /// Opens the watch again where it ended, or lists anew when that is forgotten. `Err`: the store is done.
    async fn recover(&mut self, cache: &Cache, mut error: StoreError) -> Result<(), String> {
        let mut pause = RETRY_MIN;
        loop {
            let opened = match &error {
                StoreError::Fatal(why) => return Err(why.clone()),
                StoreError::Compacted { requested, oldest } => {
                    tracing::warn!(requested, oldest, "the cache fell behind the store and lists anew");
                    list_and_watch(cache, &self.store, None).await
                }
                other => {
                    tracing::warn!(error = %other, "the cache opens its watch again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    watch_after(&self.store, cache.revision()).await
                }
            };
            match opened {
                Ok(watch) => {
                    self.watch = watch;
                    return Ok(());
                }
                Err(next) => error = next,
            }
        }
    }
}

/// Applies a batch to every resource it touches, then says that it is shown, then wakes the cursors.
fn show(cache: &Cache, names: &mut Names, batch: store_api::WatchBatch) {
    let now = Instant::now();
    let mut touched = Vec::new();
    for (resource, changes) in changes(names, batch.events) {
        touched.push(cache.resource(&resource).apply(changes, &cache.config, now));
    }
    cache.revision.fetch_max(batch.revision, Ordering::AcqRel);
    for wakes in touched {
        wakes.wake();
    }
    cache.shown.send_replace(cache.revision());
}
