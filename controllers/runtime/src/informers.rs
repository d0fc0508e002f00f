//! Informers: the cache's objects, typed, in one [`World`] that every controller reads.

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
use parking_lot::{RwLock, RwLockReadGuard};
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
    /// What of each resource the world shows.
    typed: HashMap<Gvr, watch::Sender<Revision>>,
    graph: HashMap<Gvr, watch::Sender<Revision>>,
    kinds: HashMap<Gvr, Kind>,
    owned: Vec<(Gvr, GroupResource)>,
}

struct Cached<'a>(&'a Object);

impl Source for Cached<'_> {
    fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.typed()
    }
}

fn key_of(object: &Object) -> Key {
    Key { namespace: object.key.namespace.clone(), name: object.key.name.clone() }
}

fn stored_as(gvr: &Gvr) -> GroupResource {
    GroupResource { group: gvr.group.clone(), resource: gvr.resource.clone() }
}

impl Informers {
    /// Everything the cache shows now. Objects that come later arrive through [`Self::follow`].
    pub(crate) fn new(cache: Arc<Cache>, schema: &Schema) -> Self {
        let owned: Vec<_> =
            owned_resources(schema).map(|resource| (gvr_of(resource), resource.storage.clone())).collect();
        let mut world = World::default();
        world.graph.kinds = kinds_of(schema);
        let shown = |gvr: Gvr| (gvr, watch::Sender::new(0));
        Self {
            cache,
            world: RwLock::new(world),
            typed: Kind::ALL.iter().map(|kind| shown(kind.gvr())).collect(),
            graph: owned.iter().map(|(gvr, _)| shown(gvr.clone())).collect(),
            kinds: Kind::ALL.iter().map(|kind| (kind.gvr(), *kind)).collect(),
            owned,
        }
    }

    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read()
    }

    /// Lists everything, tells the listener, and follows until `stop`.
    pub(crate) fn follow(self: &Arc<Self>, listener: Arc<dyn Listener>, stop: &CancellationToken) {
        let typed: Vec<_> = Kind::ALL.iter().map(|kind| (*kind, self.list_typed(*kind, &Quiet))).collect();
        let graph: Vec<_> = self
            .owned
            .iter()
            .map(|(gvr, stored)| (gvr.clone(), stored.clone(), self.list_graph(gvr, stored, &Quiet)))
            .collect();
        self.tell_all(&*listener);
        for (kind, from) in typed {
            let (own, listener, stop) = (self.clone(), listener.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(own.follow_typed(kind, from, &*listener)).await });
        }
        for (gvr, stored, from) in graph {
            let (own, listener, stop) = (self.clone(), listener.clone(), stop.clone());
            tokio::spawn(
                async move { stop.run_until_cancelled(own.follow_graph(gvr, stored, from, &*listener)).await },
            );
        }
    }

    /// The world is complete now: mappings to keys may look at any object.
    fn tell_all(&self, listener: &dyn Listener) {
        let world = self.world.read();
        for kind in Kind::ALL {
            for key in world.keys_of(*kind) {
                if let Some(change) = world.present(*kind, &key) {
                    listener.changed(&world, &change);
                }
            }
        }
    }

    async fn follow_typed(&self, kind: Kind, mut from: Revision, listener: &dyn Listener) {
        let stored = stored_as(&kind.gvr());
        loop {
            match self.run_typed(kind, &stored, from, listener).await {
                CacheError::Closed(why) => return tracing::warn!(?kind, why, "the cache is closed"),
                error => tracing::info!(?kind, %error, "listing anew"),
            }
            from = self.list_typed(kind, listener);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run_typed(
        &self,
        kind: Kind,
        stored: &GroupResource,
        from: Revision,
        listener: &dyn Listener,
    ) -> CacheError {
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
                self.apply_typed(kind, batch, listener);
            }
            let shown = events.last().map_or(0, |event| event.revision).max(watcher.position());
            self.shown(&self.typed, &kind.gvr(), shown);
        }
    }

    fn apply_typed(&self, kind: Kind, events: &[CacheEvent], listener: &dyn Listener) {
        let decoded: Vec<_> = events.iter().map(|event| (key_of(&event.object), decode(kind, event))).collect();
        let changes: Vec<_> = {
            let mut world = self.world.write();
            decoded.into_iter().map(|(key, object)| apply(&mut world, kind, key, object)).collect()
        };
        let world = self.world.read();
        changes.iter().for_each(|change| listener.changed(&world, change));
    }

    /// Brings the table in line with the cache, as if events had told it.
    fn list_typed(&self, kind: Kind, listener: &dyn Listener) -> Revision {
        let gvr = kind.gvr();
        let listing = self.cache.list(&stored_as(&gvr), None);
        let present: HashSet<_> = listing.objects.iter().map(|object| key_of(object)).collect();
        let decoded: Vec<_> =
            listing.objects.iter().map(|object| (key_of(object), world::decode(kind, &Cached(object)))).collect();
        let changes: Vec<_> = {
            let mut world = self.world.write();
            let gone: Vec<_> = world.keys_of(kind).into_iter().filter(|key| !present.contains(key)).collect();
            let gone = gone.into_iter().map(|key| (key, None));
            gone.chain(decoded).map(|(key, object)| apply(&mut world, kind, key, object)).collect()
        };
        let world = self.world.read();
        changes.iter().for_each(|change| listener.changed(&world, change));
        self.shown(&self.typed, &gvr, listing.revision);
        listing.revision
    }

    async fn follow_graph(&self, gvr: Gvr, stored: GroupResource, mut from: Revision, listener: &dyn Listener) {
        loop {
            match self.run_graph(&gvr, &stored, from, listener).await {
                CacheError::Closed(why) => return tracing::warn!(resource = %stored, why, "the cache is closed"),
                error => tracing::info!(resource = %stored, %error, "listing anew"),
            }
            from = self.list_graph(&gvr, &stored, listener);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run_graph(
        &self,
        gvr: &Gvr,
        stored: &GroupResource,
        from: Revision,
        listener: &dyn Listener,
    ) -> CacheError {
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
            self.apply_graph(changes.collect(), listener);
            let shown = events.last().map_or(0, |event| event.revision).max(watcher.position());
            self.shown(&self.graph, gvr, shown);
        }
    }

    fn list_graph(&self, gvr: &Gvr, stored: &GroupResource, listener: &dyn Listener) -> Revision {
        let listing = self.cache.list(stored, None);
        let present: HashSet<_> = listing.objects.iter().map(|object| target_of(gvr, object)).collect();
        let gone: Vec<_> = {
            let world = self.world.read();
            let known = world.graph.uids().filter_map(|uid| world.graph.item(uid)).map(|item| &item.target);
            known.filter(|target| target.gvr == *gvr && !present.contains(*target)).cloned().collect()
        };
        let gone = gone.into_iter().map(|target| (target, None));
        let found = listing.objects.iter().map(|object| (target_of(gvr, object), partial(object)));
        self.apply_graph(gone.chain(found).collect(), listener);
        self.shown(&self.graph, gvr, listing.revision);
        listing.revision
    }

    fn apply_graph(&self, changes: Vec<(Target, Option<Partial>)>, listener: &dyn Listener) {
        let mut look = Vec::new();
        {
            let mut world = self.world.write();
            for (target, partial) in changes {
                look.extend(world.graph.set(target, partial.map(|partial| partial.metadata)));
            }
        }
        listener.ownership_changed(look);
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

/// Hears nothing: for the first lists, before the world is complete.
struct Quiet;

impl Listener for Quiet {
    fn changed(&self, _world: &World, _change: &Changed) {}
    fn ownership_changed(&self, _uids: Vec<Arc<str>>) {}
}
