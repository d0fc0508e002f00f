//! The cache over an in-memory store: lists, cursors, bookmarks, falling behind.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use api_cache::{Cache, CacheConfig, CacheError, CacheEvent, EventKind, Interest, Object, Watcher};
use api_machinery::{GroupResource, ObjectKey, object};
use async_trait::async_trait;
use serde_json::json;
use store_api::mem::MemStore;
use store_api::{
    FIRST_REVISION, GetReply, LeaseId, LeaseInfo, RangeReply, RangeRequest, ReadAt, Revision, Store, StoreError,
    StoreStatus, Txn, TxnReply, WatchRequest, WatchStream,
};

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(pods(), namespace, name)
}

async fn put(store: &MemStore, namespace: &str, name: &str, node: &str) -> u64 {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
                     "spec": {"nodeName": node}});
    let txn = Txn::put(key(namespace, name).store_key(), api_codec::stored::encode(&pod));
    store.txn(txn).await.expect("written").revision
}

async fn delete(store: &MemStore, namespace: &str, name: &str) -> u64 {
    store.txn(Txn::delete(key(namespace, name).store_key())).await.expect("deleted").revision
}

async fn start(store: &MemStore) -> Arc<Cache> {
    Cache::start(store.clone().into_dyn(), CacheConfig::default()).await.expect("started")
}

async fn shown(cache: &Cache, revision: u64) {
    cache.wait_for(revision, Duration::from_secs(5)).await.expect("shown");
}

fn names(cache: &Cache, namespace: Option<&str>) -> Vec<String> {
    let objects = cache.list(&pods(), namespace).objects;
    objects.iter().map(|object| format!("{}/{}", object.key.namespace, object.key.name)).collect()
}

/// `KIND NAME@REVISION` of the next events.
async fn next(watcher: &mut Watcher) -> Vec<String> {
    let events = tokio::time::timeout(Duration::from_secs(5), watcher.next()).await.expect("in time").expect("open");
    events.iter().map(|event| format!("{:?} {}@{}", event.kind, event.object.key.name, event.revision)).collect()
}

#[tokio::test]
async fn lists_and_index() {
    let store = MemStore::new();
    put(&store, "a", "x", "n1").await;
    put(&store, "a-b", "x", "n1").await;
    let cache = start(&store).await;
    put(&store, "a", "y", "").await;
    put(&store, "ab", "x", "n2").await;
    let last = put(&store, "a", "x", "n2").await;
    shown(&cache, last).await;
    // The order of the store's keys: `-` comes before `/`.
    assert_eq!(names(&cache, None), ["a-b/x", "a/x", "a/y", "ab/x"]);
    assert_eq!(names(&cache, Some("a")), ["a/x", "a/y"]);
    assert_eq!(names(&cache, Some("nobody")), [""; 0]);
    let on = |node: &str| cache.pods_on_node(node).objects.len();
    assert_eq!((on("n1"), on("n2"), on("n3")), (1, 2, 0));
    assert_eq!(cache.count(&pods()), 4);
    assert_eq!(cache.list(&pods(), None).revision, last);
    let x = cache.get(&key("a", "x")).expect("there");
    assert_eq!(object::resource_version(&x.value()), last.to_string());
    assert!(x.json.starts_with(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"#));
    assert_eq!(object::resource_version(&x.at_revision(77).value()), "77");
}

#[tokio::test]
async fn a_cursor_sees_every_change_once() {
    let store = MemStore::new();
    let r1 = put(&store, "a", "old", "").await;
    let cache = start(&store).await;
    let mut all = cache.watch(&pods(), None, r1).expect("open");
    let mut one = cache.watch(&pods(), Some("b"), r1).expect("open");
    let r2 = put(&store, "a", "x", "n").await;
    let r3 = put(&store, "b", "y", "").await;
    let r4 = delete(&store, "a", "x").await;
    shown(&cache, r4).await;
    assert_eq!(next(&mut all).await, [format!("Added x@{r2}"), format!("Added y@{r3}"), format!("Deleted x@{r4}")]);
    assert_eq!(next(&mut one).await, [format!("Added y@{r3}")]);
    assert_eq!((all.position(), one.position()), (r4, r4));
    // A deletion's object is the last state with the deletion's revision, and remembers what was before.
    let mut again = cache.watch(&pods(), None, r3).expect("open");
    let event = again.next().await.expect("open").remove(0);
    assert_eq!(event.kind, EventKind::Deleted);
    assert_eq!(object::resource_version(&event.object.value()), r4.to_string());
    assert_eq!(object::str_at(&event.object.value(), "spec.nodeName"), "n");
    assert_eq!(event.previous.expect("known").revision, r2);
}

#[tokio::test]
async fn position_of_a_quiet_resource_moves_on() {
    let store = MemStore::new();
    let cache = start(&store).await;
    let watcher = cache.watch(&GroupResource::new("", "secrets"), None, FIRST_REVISION).expect("open");
    let last = put(&store, "a", "x", "").await;
    shown(&cache, last).await;
    assert_eq!(watcher.position(), last);
    // Not while something is still to be read.
    let behind = cache.watch(&pods(), None, FIRST_REVISION).expect("open");
    assert_eq!(behind.position(), FIRST_REVISION);
}

#[tokio::test]
async fn watches_of_before_a_restart_resume() {
    let store = MemStore::new();
    for _ in 0..20 {
        put(&store, "a", "x", "").await;
    }
    store.compact_now(5).expect("compacted");
    let cache = start(&store).await;
    assert_eq!(cache.revision(), FIRST_REVISION + 20);
    let mut resumed = cache.watch(&pods(), None, 18).expect("open");
    assert_eq!(next(&mut resumed).await, ["Modified x@19", "Modified x@20", "Modified x@21"]);
    assert!(matches!(cache.watch(&pods(), None, 3), Err(CacheError::Expired { .. })));
}

/// Compacts when somebody begins to read at an old revision.
struct Compacting {
    store: MemStore,
    to: parking_lot::Mutex<Vec<u64>>,
}

#[async_trait]
impl Store for Compacting {
    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        let next = self.to.lock().pop();
        if let (ReadAt::Revision(_), Some(revision)) = (&range.at, next) {
            self.store.compact(revision).await?;
        }
        self.store.range(range).await
    }
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        self.store.txn(txn).await
    }
    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        self.store.get(key, at).await
    }
    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        self.store.watch(watch).await
    }
    async fn lease_grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.lease_grant_as(lease, ttl).await
    }
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.store.lease_renew(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.lease_revoke(lease).await
    }
    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.store.lease(lease).await
    }
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.store.leases().await
    }
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }
    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        self.store.read_barrier().await
    }
    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        self.store.wait_applied(revision, timeout).await
    }
    fn applied_revision(&self) -> Revision {
        self.store.applied_revision()
    }
    fn status(&self) -> StoreStatus {
        self.store.status()
    }
}

/// What is left of the history is played back, not nothing.
#[tokio::test]
async fn watches_resume_after_a_restart_during_compactions() {
    let store = MemStore::new();
    for _ in 0..20 {
        put(&store, "a", "x", "").await;
    }
    let compacting = Compacting { store, to: parking_lot::Mutex::new(vec![9, 7, 5]) };
    let cache = Cache::start(Arc::new(compacting), CacheConfig::default()).await.expect("started");
    let mut resumed = cache.watch(&pods(), None, 18).expect("open");
    assert_eq!(next(&mut resumed).await, ["Modified x@19", "Modified x@20", "Modified x@21"]);
    assert!(matches!(cache.watch(&pods(), None, 8), Err(CacheError::Expired { .. })));
    assert!(cache.watch(&pods(), None, 9).is_ok());
}

/// However few revisions there were: a cluster that was never compacted plays back from its first.
#[tokio::test]
async fn watches_resume_after_a_restart_in_a_young_cluster() {
    let store = MemStore::new();
    let first = put(&store, "a", "x", "").await;
    put(&store, "a", "y", "").await;
    put(&store, "a", "x", "n1").await;
    let cache = start(&store).await;
    let mut watcher = cache.watch(&pods(), None, first).expect("the window begins at the first revision");
    assert_eq!(next(&mut watcher).await, ["Added y@3", "Modified x@4"]);
}

#[tokio::test]
async fn a_slow_cursor_expires_and_others_do_not_notice() {
    let store = MemStore::new();
    let config = CacheConfig { window_events: 10, ..CacheConfig::default() };
    let cache = Cache::start(store.clone().into_dyn(), config).await.expect("started");
    let mut slow = cache.watch(&pods(), None, FIRST_REVISION).expect("open");
    let mut quick = cache.watch(&pods(), None, FIRST_REVISION).expect("open");
    let mut seen = Vec::new();
    for _ in 0..30 {
        let revision = put(&store, "a", "x", "").await;
        shown(&cache, revision).await;
        seen.extend(next(&mut quick).await);
    }
    assert_eq!(seen.len(), 30);
    assert!(matches!(slow.next().await, Err(CacheError::Expired { .. })));
    assert!(cache.watch(&pods(), None, 21).is_ok());
    assert!(matches!(cache.watch(&pods(), None, 20), Err(CacheError::Expired { .. })));
}

#[tokio::test]
async fn waiting_for_the_future_ends() {
    let store = MemStore::new();
    let cache = start(&store).await;
    let waited = cache.wait_for(7, Duration::from_millis(20)).await;
    assert!(matches!(waited, Err(CacheError::TooLarge { requested: 7, current: FIRST_REVISION })));
}

/// Revisions of a resource's events only grow, and a list plus the events after it is always the newest list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_watch_agree_under_writes() {
    let store = MemStore::new();
    let cache = start(&store).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..200 {
                put(&store, "a", &format!("p{}", round % 7), "").await;
                if round % 3 == 0 {
                    delete(&store, "a", &format!("p{}", (round + 3) % 7)).await;
                }
            }
            store.applied_revision()
        })
    };
    let mut readers = Vec::new();
    for _ in 0..8 {
        tokio::task::yield_now().await;
        let cache = cache.clone();
        readers.push(tokio::spawn(async move {
            let listing = cache.list(&pods(), None);
            let mut held: std::collections::BTreeMap<String, u64> =
                listing.objects.iter().map(|object| (object.key.name.to_string(), object.revision)).collect();
            assert!(held.values().all(|revision| *revision <= listing.revision));
            let mut watcher = cache.watch(&pods(), None, listing.revision).expect("open");
            let mut last = listing.revision;
            while let Ok(Ok(events)) = tokio::time::timeout(Duration::from_millis(500), watcher.next()).await {
                for event in events {
                    assert!(event.revision > last, "{} after {last}", event.revision);
                    last = event.revision;
                    let name = event.object.key.name.to_string();
                    match event.kind {
                        EventKind::Added => assert_eq!(held.insert(name, event.revision), None),
                        EventKind::Modified => assert!(held.insert(name, event.revision).is_some()),
                        EventKind::Deleted => assert!(held.remove(&name).is_some()),
                    }
                }
            }
            (held, watcher.position())
        }));
    }
    let end = writer.await.expect("done");
    shown(&cache, end).await;
    let newest: std::collections::BTreeMap<String, u64> =
        cache.list(&pods(), None).objects.iter().map(|object| (object.key.name.to_string(), object.revision)).collect();
    for reader in readers {
        assert_eq!(reader.await.expect("no panic"), (newest.clone(), end));
    }
}

#[tokio::test]
async fn falling_behind_the_store_lists_anew() {
    let store = MemStore::with_history(5);
    let cache = start(&store).await;
    let mut watcher = cache.watch(&pods(), None, FIRST_REVISION).expect("open");
    let mut last = 0;
    // Nothing here waits, so the cache's task does not run before the history is gone.
    for index in 0..50 {
        last = put(&store, "a", &format!("p{}", index % 3), "").await;
    }
    shown(&cache, last).await;
    assert_eq!(names(&cache, None), ["a/p0", "a/p1", "a/p2"]);
    assert!(matches!(watcher.next().await, Err(CacheError::Expired { .. })));
    let mut watcher = cache.watch(&pods(), None, last).expect("open");
    let next_revision = put(&store, "a", "p1", "").await;
    assert_eq!(next(&mut watcher).await, [format!("Modified p1@{next_revision}")]);
}

/// Counts how often whoever waits is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Waiting = Pin<Box<dyn Future<Output = (Watcher, Vec<CacheEvent>)> + Send>>;

/// One who follows, polled by hand.
struct Follower {
    waiting: Waiting,
    wakes: Arc<Wakes>,
    seen: Vec<String>,
}

impl Follower {
    fn new(watcher: Watcher) -> Self {
        let mut follower = Self { waiting: Self::wait(watcher), wakes: Arc::default(), seen: Vec::new() };
        follower.poll();
        follower
    }

    fn wait(mut watcher: Watcher) -> Waiting {
        Box::pin(async move {
            let events = watcher.next().await.expect("open");
            (watcher, events)
        })
    }

    /// Takes what is there, until it waits again.
    fn poll(&mut self) {
        let waker = Waker::from(self.wakes.clone());
        while let Poll::Ready((watcher, events)) = self.waiting.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.seen.extend(events.iter().map(|event| format!("{:?} {}", event.kind, event.object.key.name)));
            self.waiting = Self::wait(watcher);
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

const NODES: usize = 200;
const WRITES: usize = 100;

/// What a pod's change costs with many kubelets: whom it wakes, and how often a selector is asked.
#[tokio::test]
async fn a_change_wakes_and_asks_those_it_concerns() {
    let store = MemStore::new();
    let cache = start(&store).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let open = |interest: Interest| {
        let asked = asked.clone();
        let filter = move |_: &Object| {
            asked.fetch_add(1, Ordering::Relaxed);
            true
        };
        let interest = Interest { filter: Some(Arc::new(filter)), ..interest };
        Follower::new(cache.watch_for(&pods(), interest, FIRST_REVISION).expect("open"))
    };
    let on = |node: usize| open(Interest { node: Some(format!("n{node}").into()), ..Interest::default() });
    let mut kubelets: Vec<Follower> = (0..NODES).map(on).collect();
    let named = |name: &str| Interest { name: Some(name.into()), ..Interest::of(Some("a")) };
    let mut others =
        [open(Interest::of(Some("a"))), open(Interest::of(Some("b"))), open(named("p1")), open(named("p"))];
    for index in 0..WRITES {
        let revision = put(&store, "a", &format!("p{index}"), &format!("n{}", index % 50)).await;
        shown(&cache, revision).await;
        kubelets.iter_mut().filter(|kubelet| kubelet.wakes() > 0).for_each(Follower::poll);
        others.iter_mut().for_each(Follower::poll);
    }
    let woken: usize = kubelets.iter().map(Follower::wakes).sum();
    assert_eq!(woken, WRITES, "each change wakes the one kubelet it concerns");
    assert_eq!(others.each_ref().map(Follower::wakes), [WRITES, 0, 1, 0]);
    // By the kubelet, by who follows the namespace, and once by who follows the name.
    assert_eq!(asked.load(Ordering::Relaxed), 2 * WRITES + 1);
    assert_eq!(kubelets[7].seen, ["Added p7", "Added p57"]);
    assert_eq!((kubelets[60].seen.len(), others[2].seen.as_slice()), (0, ["Added p1".to_owned()].as_slice()));

    // A pod that goes to another node concerns both.
    let before: usize = kubelets.iter().map(Follower::wakes).sum();
    let revision = put(&store, "a", "p7", "n150").await;
    shown(&cache, revision).await;
    kubelets.iter_mut().for_each(Follower::poll);
    assert_eq!(kubelets.iter().map(Follower::wakes).sum::<usize>() - before, 2);
    assert_eq!((kubelets[7].seen.len(), kubelets[150].seen.as_slice()), (3, ["Modified p7".to_owned()].as_slice()));
}

#[tokio::test]
async fn who_follows_little_is_not_behind_for_what_others_do() {
    let store = MemStore::new();
    let config = CacheConfig { window_events: 10, ..CacheConfig::default() };
    let cache = Cache::start(store.clone().into_dyn(), config).await.expect("started");
    let interest = || Interest { node: Some("n1".into()), ..Interest::default() };
    let mut idle = cache.watch_for(&pods(), interest(), FIRST_REVISION).expect("open");
    let first = put(&store, "a", "mine", "n1").await;
    shown(&cache, first).await;
    assert_eq!(next(&mut idle).await, [format!("Added mine@{first}")]);
    let mut slow = cache.watch_for(&pods(), interest(), first).expect("open");
    for _ in 0..30 {
        let revision = put(&store, "a", "other", "n2").await;
        shown(&cache, revision).await;
    }
    // Its bookmarks go on, and it has missed nothing although the window has moved past it.
    assert_eq!(idle.position(), cache.revision());
    let last = put(&store, "a", "mine", "n1").await;
    shown(&cache, last).await;
    assert_eq!(next(&mut idle).await, [format!("Modified mine@{last}")]);
    assert_eq!(next(&mut slow).await, [format!("Modified mine@{last}")]);
    // It is behind once the window has forgotten a change of its own.
    let last = put(&store, "a", "mine", "n1").await;
    for _ in 0..30 {
        put(&store, "a", "other", "n2").await;
    }
    shown(&cache, last + 30).await;
    assert!(matches!(slow.next().await, Err(CacheError::Expired { .. })));
}
