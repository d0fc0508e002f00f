//! Informers: the cache's objects, typed, in one [`World`] that every controller reads.
//!
//! Every replica's informers follow the cache all the time. A replica that takes the leadership over has its world
//! already: nothing is listed or decoded again. What a replica that does not lead keeps is one typed form of each
//! present object and its place in the graph; nobody listens, so no queue grows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_cache::{Cache, CacheError, CacheEvent, EventKind, Object};
use api_machinery::GroupResource;
use api_schema::{Resource, Schema};
use controller_logic::graph::{KindInfo, Partial};
use controller_logic::plan::Target;
use controller_logic::world::{self, Changed, Source};
use controller_logic::{Gvr, Key, Kind, World};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::de::DeserializeOwned;
use store_api::Revision;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Wrote;
use crate::clock;

/// How long a worker waits for the cache to show its own writes before it says so in the log.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// Events applied under one lock, at most, so that readers get their turn.
const APPLY_BATCH: usize = 256;

/// Receives every change, in order per kind, after the world shows it.
pub(crate) trait Listener: Send + Sync {
    fn changed(&self, world: &World, change: &Changed);
    /// Objects the garbage collector should look at.
    fn ownership_changed(&self, uids: Vec<Arc<str>>);
}

pub(crate) struct Informers {
    cache: Arc<Cache>,
    world: RwLock<World>,
    /// The controllers and the scheduler of the leadership at hand. Set and read under a lock of `world`, so that a
    /// change is either part of what a new listener is told first, or told to it afterwards.
    listener: Mutex<Option<Arc<dyn Listener>>>,
    /// What of each resource the world shows.
    typed: HashMap<Gvr, watch::Sender<Revision>>,
    graph: HashMap<Gvr, watch::Sender<Revision>>,
    kinds: HashMap<Gvr, Kind>,
    owned: Vec<(Gvr, GroupResource)>,
}

struct Cached<'a>(&'a Object);

impl Source for Cached<'_> {
    /// Not the cache's own typed form: the world keeps this one, and one is enough.
    fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        let decoded = serde_json::from_slice(&self.0.json);
        decoded.inspect_err(|error| tracing::error!(key = ?self.0.key, %error, "an object does not fit its kind")).ok()
    }
}

fn key_of(object: &Object) -> Key {
    Key { namespace: object.key.namespace.clone(), name: object.key.name.clone() }
}

fn stored_as(gvr: &Gvr) -> GroupResource {
    GroupResource { group: gvr.group.clone(), resource: gvr.resource.clone() }
}

impl Informers {
    /// Empty; [`Self::start`] fills them.
    pub(crate) fn new(cache: Arc<Cache>, schema: &Schema) -> Self {
        let owned: Vec<_> =
            owned_resources(schema).map(|resource| (gvr_of(resource), resource.storage.clone())).collect();
        let mut world = World::default();
        world.graph.kinds = kinds_of(schema);
        let shown = |gvr: Gvr| (gvr, watch::Sender::new(0));
        Self {
            cache,
            world: RwLock::new(world),
            listener: Mutex::new(None),
            typed: Kind::ALL.iter().map(|kind| shown(kind.gvr())).collect(),
            graph: owned.iter().map(|(gvr, _)| shown(gvr.clone())).collect(),
            kinds: Kind::ALL.iter().map(|kind| (kind.gvr(), *kind)).collect(),
            owned,
        }
    }

    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read()
    }

    /// Lists everything, and follows until `stop`. Decodes every object: not for a thread that others need.
    pub(crate) fn start(self: &Arc<Self>, stop: &CancellationToken) {
        let typed: Vec<_> = Kind::ALL.iter().map(|kind| (*kind, self.list_typed(*kind))).collect();
        let graph: Vec<_> = self
            .owned
            .iter()
            .map(|(gvr, stored)| (gvr.clone(), stored.clone(), self.list_graph(gvr, stored)))
            .collect();
        for (kind, from) in typed {
            let (own, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(own.follow_typed(kind, from)).await });
        }
        for (gvr, stored, from) in graph {
            let (own, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(own.follow_graph(gvr, stored, from)).await });
        }
    }

    /// Waits until the world shows everything up to a revision that the cache shows already.
    pub(crate) async fn caught_up(&self, revision: Revision) {
        for (gvr, shown) in &self.typed {
            self.has_shown(shown, &stored_as(gvr), revision).await;
        }
        for (gvr, stored) in &self.owned {
            if let Some(shown) = self.graph.get(gvr) {
                self.has_shown(shown, stored, revision).await;
            }
        }
    }

    async fn has_shown(&self, shown: &watch::Sender<Revision>, stored: &GroupResource, wanted: Revision) {
        let mut seen = shown.subscribe();
        loop {
            let position = *seen.borrow_and_update();
            if position >= wanted || self.is_quiet(stored, position, wanted) || seen.changed().await.is_err() {
                return;
            }
        }
    }

    /// Nothing happened to a resource between two revisions.
    fn is_quiet(&self, stored: &GroupResource, after: Revision, until: Revision) -> bool {
        self.cache.watch(stored, None, after).is_ok_and(|watcher| watcher.position() >= until)
    }

    /// A leadership begins: tells the listener of every object, and of every change from then on. Nothing when the
    /// leadership is over already.
    pub(crate) fn attach(&self, listener: &Arc<dyn Listener>, stop: &CancellationToken) {
        let mut world = self.world.write();
        {
            let mut own = self.listener.lock();
            if stop.is_cancelled() {
                return;
            }
            *own = Some(listener.clone());
        }
        world.observed.begin(clock::now());
        tell_all(&RwLockWriteGuard::downgrade(world), &**listener);
    }

    /// The leadership is over, its token cancelled: nobody is told anything any more.
    pub(crate) fn detach(&self) {
        *self.listener.lock() = None;
    }

    async fn follow_typed(&self, kind: Kind, mut from: Revision) {
        let stored = stored_as(&kind.gvr());
        loop {
            match self.run_typed(kind, &stored, from).await {
                CacheError::Closed(why) => return tracing::warn!(?kind, why, "the cache is closed"),
                error => tracing::info!(?kind, %error, "listing anew"),
            }
            from = self.list_typed(kind);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run_typed(&self, kind: Kind, stored: &GroupResource, from: Revision) -> CacheError {
        let mut watcher = match self.cache.watch(stored, None, from) {
            Ok(watcher) => watcher,
            Err(error) => return error,
        };
        loop {
            let events = match watcher.next().await {
                Ok(events) => events,
                Err(error) => return error,
            };
            for batch in events.chunks(APPLY_BATCH) {
                self.apply_events(kind, batch);
            }
            let shown = events.last().map_or(0, |event| event.revision).max(watcher.position());
            self.shown(&self.typed, &kind.gvr(), shown);
        }
    }

    fn apply_events(&self, kind: Kind, events: &[CacheEvent]) {
        let decoded = events.iter().map(|event| (key_of(&event.object), decode(kind, event)));
        let decoded: Vec<_> = decoded.collect();
        self.apply_typed(|_| decoded, kind);
    }

    /// Shows what `changes` wants of the world as it is, and tells the listener afterwards.
    fn apply_typed(&self, changes: impl FnOnce(&World) -> Vec<(Key, Option<world::Decoded>)>, kind: Kind) {
        let (changes, listener) = {
            let mut world = self.world.write();
            let wanted = changes(&world);
            let applied = wanted.into_iter().map(|(key, object)| apply(&mut world, kind, key, object));
            (applied.collect::<Vec<_>>(), self.listener.lock().clone())
        };
        if let Some(listener) = listener {
            let world = self.world.read();
            changes.iter().for_each(|change| listener.changed(&world, change));
        }
    }

    /// Brings the table in line with the cache, as if events had told it.
    fn list_typed(&self, kind: Kind) -> Revision {
        let gvr = kind.gvr();
        let listing = self.cache.list(&stored_as(&gvr), None);
        let present: HashSet<_> = listing.objects.iter().map(|object| key_of(object)).collect();
        let decoded: Vec<_> =
            listing.objects.iter().map(|object| (key_of(object), world::decode(kind, &Cached(object)))).collect();
        let with_gone = |world: &World| {
            let gone = world.keys_of(kind).into_iter().filter(|key| !present.contains(key)).map(|key| (key, None));
            gone.chain(decoded).collect()
        };
        self.apply_typed(with_gone, kind);
        self.shown(&self.typed, &gvr, listing.revision);
        listing.revision
    }

    async fn follow_graph(&self, gvr: Gvr, stored: GroupResource, mut from: Revision) {
        loop {
            match self.run_graph(&gvr, &stored, from).await {
                CacheError::Closed(why) => return tracing::warn!(resource = %stored, why, "the cache is closed"),
                error => tracing::info!(resource = %stored, %error, "listing anew"),
            }
            from = self.list_graph(&gvr, &stored);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run_graph(&self, gvr: &Gvr, stored: &GroupResource, from: Revision) -> CacheError {
        let mut watcher = match self.cache.watch(stored, None, from) {
            Ok(watcher) => watcher,
            Err(error) => return error,
        };
        loop {
            let events = match watcher.next().await {
                Ok(events) => events,
                Err(error) => return error,
            };
            let changes = events.iter().map(|event| {
                let gone = event.kind == EventKind::Deleted;
                (target_of(gvr, &event.object), if gone { None } else { partial(&event.object) })
            });
            self.apply_graph(changes.collect());
            let shown = events.last().map_or(0, |event| event.revision).max(watcher.position());
            self.shown(&self.graph, gvr, shown);
        }
    }

    fn list_graph(&self, gvr: &Gvr, stored: &GroupResource) -> Revision {
        let listing = self.cache.list(stored, None);
        let present: HashSet<_> = listing.objects.iter().map(|object| target_of(gvr, object)).collect();
        let gone: Vec<_> = {
            let world = self.world.read();
            let known = world.graph.uids().filter_map(|uid| world.graph.item(uid)).map(|item| &item.target);
            known.filter(|target| target.gvr == *gvr && !present.contains(*target)).cloned().collect()
        };
        let gone = gone.into_iter().map(|target| (target, None));
        let found = listing.objects.iter().map(|object| (target_of(gvr, object), partial(object)));
        self.apply_graph(gone.chain(found).collect());
        self.shown(&self.graph, gvr, listing.revision);
        listing.revision
    }

    fn apply_graph(&self, changes: Vec<(Target, Option<Partial>)>) {
        let mut look = Vec::new();
        let listener = {
            let mut world = self.world.write();
            for (target, partial) in changes {
                look.extend(world.graph.set(target, partial.map(|partial| partial.metadata)));
            }
            self.listener.lock().clone()
        };
        if let Some(listener) = listener {
            listener.ownership_changed(look);
        }
    }

    fn shown(&self, table: &HashMap<Gvr, watch::Sender<Revision>>, gvr: &Gvr, revision: Revision) {
        if let Some(sender) = table.get(gvr) {
            // Sent even when it is not newer: waiters for deletions look at the world itself.
            sender.send_modify(|own| *own = revision.max(*own));
        }
    }

    /// Waits until the world shows these writes. False: it did not within the bound.
    pub(crate) async fn wait_shown(&self, writes: &[Wrote]) -> bool {
        let all = async {
            for write in writes {
                self.wait_one(write, &self.typed).await;
                self.wait_one(write, &self.graph).await;
            }
        };
        tokio::time::timeout(SHOWN_WITHIN, all).await.is_ok()
    }

    async fn wait_one(&self, write: &Wrote, table: &HashMap<Gvr, watch::Sender<Revision>>) {
        let gvr = match write {
            Wrote::Revision { gvr, .. } => gvr,
            Wrote::Gone { target, .. } => &target.gvr,
        };
        let Some(mut shown) = table.get(gvr).map(watch::Sender::subscribe) else { return };
        let is_typed = std::ptr::eq(table, &self.typed);
        let _ = shown
            .wait_for(|revision| match write {
                Wrote::Revision { revision: wanted, .. } => revision >= wanted,
                Wrote::Gone { target, uid } => self.shows_gone(target, uid, is_typed),
            })
            .await;
    }

    fn shows_gone(&self, target: &Target, uid: &str, is_typed: bool) -> bool {
        let world = self.world.read();
        match self.kinds.get(&target.gvr).filter(|_| is_typed) {
            Some(kind) => {
                let key = Key { namespace: target.namespace.clone(), name: target.name.clone() };
                world.shows_gone(*kind, &key, uid)
            }
            None => world.graph.item(uid).is_none_or(|item| item.is_deleting()),
        }
    }
}

/// Mappings to keys may look at any object: the world is complete.
fn tell_all(world: &World, listener: &dyn Listener) {
    for kind in Kind::ALL {
        for key in world.keys_of(*kind) {
            if let Some(change) = world.present(*kind, &key) {
                listener.changed(world, &change);
            }
        }
    }
}

fn apply(world: &mut World, kind: Kind, key: Key, object: Option<world::Decoded>) -> Changed {
    let change = world.apply(kind, key, object);
    world.observed.note(&change.view(), clock::now());
    change
}

fn decode(kind: Kind, event: &CacheEvent) -> Option<world::Decoded> {
    if event.kind == EventKind::Deleted { None } else { world::decode(kind, &Cached(&event.object)) }
}

fn target_of(gvr: &Gvr, object: &Object) -> Target {
    Target { gvr: gvr.clone(), namespace: object.key.namespace.clone(), name: object.key.name.clone() }
}

fn partial(object: &Object) -> Option<Partial> {
    serde_json::from_slice(&object.json).ok()
}

fn gvr_of(resource: &Resource) -> Gvr {
    Gvr::new(&resource.gv.group, &resource.gv.version, &resource.plural)
}

/// Resources whose objects have owners: what can be listed, watched and deleted, once each, without Events.
fn owned_resources(schema: &Schema) -> impl Iterator<Item = &Resource> {
    schema.resources().iter().filter(move |resource| {
        let preferred = schema.preferred(&resource.storage).is_some_and(|own| own.gv == resource.gv);
        let verbs = ["list", "watch", "delete"].iter().all(|verb| resource.has_verb(verb));
        let own_storage = resource.storage == resource.group_resource();
        preferred && verbs && own_storage && resource.plural != "events"
    })
}

fn kinds_of(schema: &Schema) -> HashMap<(String, String), KindInfo> {
    let all = schema.resources().iter().filter(|resource| resource.has_verb("get"));
    all.map(|resource| {
        let info = KindInfo { gvr: gvr_of(resource), namespaced: resource.namespaced };
        ((resource.gv.to_string(), resource.kind.clone()), info)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use api_cache::CacheConfig;
    use api_machinery::{GroupResource, ObjectKey};
    use controller_logic::meta::Meta;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;
    use store_api::mem::MemStore;
    use store_api::{DynStore, Txn};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listener for Heard {
        fn changed(&self, _world: &World, change: &Changed) {
            self.0.lock().push(change.key.name.to_string());
        }
        fn ownership_changed(&self, _uids: Vec<Arc<str>>) {}
    }

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    struct Replica {
        store: DynStore,
        cache: Arc<Cache>,
        informers: Arc<Informers>,
    }

    impl Replica {
        async fn start() -> Self {
            let store: DynStore = Arc::new(MemStore::new());
            let cache = Cache::start(store.clone(), CacheConfig::default()).await.expect("a cache");
            let informers = Arc::new(Informers::new(cache.clone(), Schema::builtin()));
            let own = informers.clone();
            tokio::task::spawn_blocking(move || own.start(&CancellationToken::new())).await.expect("listed");
            Self { store, cache, informers }
        }

        /// Writes a pod, and waits until the informers show it.
        async fn put(&self, name: &str) {
            let key = ObjectKey { resource: GroupResource::new("", "pods"), namespace: "ns".into(), name: name.into() };
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "ns", "uid": name, "managedFields": [{"manager": "m"}]}});
            let reply = self.store.txn(Txn::put(key.store_key(), pod.to_string())).await.expect("written");
            self.cache.wait_for(reply.revision, SOON).await.expect("shown by the cache");
            let shown = tokio::time::timeout(SOON, self.informers.caught_up(reply.revision)).await;
            shown.expect("shown by the informers");
        }

        fn pod(&self, name: &str) -> Arc<Pod> {
            self.informers.world().pods.get("ns", name).expect("there").clone()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_leader_finds_its_world_as_it_is() {
        let replica = Replica::start().await;
        replica.put("one").await;
        replica.put("two").await;
        let before = replica.pod("one");
        let heard = Arc::new(Heard::default());
        let listener: Arc<dyn Listener> = heard.clone();
        let leading = CancellationToken::new();
        replica.informers.attach(&listener, &leading);
        assert_eq!(heard.take(), ["one", "two"], "all there is");
        assert!(Arc::ptr_eq(&before, &replica.pod("one")), "nothing is listed or decoded again");
        replica.put("three").await;
        assert_eq!(heard.take(), ["three"], "and what happens from then on");

        leading.cancel();
        replica.informers.detach();
        replica.put("four").await;
        replica.informers.attach(&listener, &leading);
        assert!(heard.take().is_empty(), "nothing when the leadership is over");
        assert_eq!(replica.pod("four").name(), "four", "but the world is kept");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_what_is_there_is_kept() {
        let replica = Replica::start().await;
        replica.put("one").await;
        let first = Arc::downgrade(&replica.pod("one"));
        assert_eq!(replica.pod("one").metadata.managed_fields, None);
        replica.put("one").await;
        assert!(first.upgrade().is_none(), "an old version has no typed form, though the cache's window has it");
    }
}
