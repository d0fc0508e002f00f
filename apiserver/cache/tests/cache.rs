//! The cache over an in-memory store: lists, cursors, bookmarks, falling behind.

use std::sync::Arc;
use std::time::Duration;

use api_cache::{Cache, CacheConfig, CacheError, EventKind, Watcher};
use api_machinery::{GroupResource, ObjectKey, object};
use serde_json::json;
use store_api::mem::MemStore;
use store_api::{Store, Txn};

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
    let watcher = cache.watch(&GroupResource::new("", "secrets"), None, 0).expect("open");
    let last = put(&store, "a", "x", "").await;
    shown(&cache, last).await;
    assert_eq!(watcher.position(), last);
    // Not while something is still to be read.
    let behind = cache.watch(&pods(), None, 0).expect("open");
    assert_eq!(behind.position(), 0);
}

#[tokio::test]
async fn watches_of_before_a_restart_resume() {
    let store = MemStore::new();
    for _ in 0..20 {
        put(&store, "a", "x", "").await;
    }
    store.compact_now(5).expect("compacted");
    let cache = start(&store).await;
    assert_eq!(cache.revision(), 20);
    let mut resumed = cache.watch(&pods(), None, 17).expect("open");
    assert_eq!(next(&mut resumed).await, ["Modified x@18", "Modified x@19", "Modified x@20"]);
    assert!(matches!(cache.watch(&pods(), None, 3), Err(CacheError::Expired { .. })));
}

#[tokio::test]
async fn a_slow_cursor_expires_and_others_do_not_notice() {
    let store = MemStore::new();
    let config = CacheConfig { window_events: 10, ..CacheConfig::default() };
    let cache = Cache::start(store.clone().into_dyn(), config).await.expect("started");
    let mut slow = cache.watch(&pods(), None, 0).expect("open");
    let mut quick = cache.watch(&pods(), None, 0).expect("open");
    let mut seen = Vec::new();
    for _ in 0..30 {
        let revision = put(&store, "a", "x", "").await;
        shown(&cache, revision).await;
        seen.extend(next(&mut quick).await);
    }
    assert_eq!(seen.len(), 30);
    assert!(matches!(slow.next().await, Err(CacheError::Expired { .. })));
    assert!(cache.watch(&pods(), None, 20).is_ok());
    assert!(matches!(cache.watch(&pods(), None, 19), Err(CacheError::Expired { .. })));
}

#[tokio::test]
async fn waiting_for_the_future_ends() {
    let store = MemStore::new();
    let cache = start(&store).await;
    let waited = cache.wait_for(7, Duration::from_millis(20)).await;
    assert!(matches!(waited, Err(CacheError::TooLarge { requested: 7, current: 0 })));
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
    let mut watcher = cache.watch(&pods(), None, 0).expect("open");
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
