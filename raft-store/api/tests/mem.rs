//! The in-memory store passes the suite, and its seams for tests of others do what they say.

use store_api::mem::{Fault, MemStore};
use store_api::*;

#[tokio::test]
async fn conforms() {
    conformance::run(|| async { MemStore::new().into_dyn() }).await;
}

#[tokio::test]
async fn conforms_when_shared() {
    let store = MemStore::new();
    conformance::run(|| async { store.clone().into_dyn() }).await;
}

#[tokio::test]
async fn an_empty_store_is_at_revision_one() {
    let store = MemStore::new();
    assert_eq!(store.read_barrier().await, Ok(1));
    assert_eq!(store.get(b"a", ReadAt::Revision(1)).await, Ok(GetReply { kv: None, revision: 1 }));
    let request = WatchRequest { start: "a".into(), end: "b".into(), from: 1 };
    let mut watch = store.watch(request).await.unwrap();
    assert_eq!(store.txn(Txn::put("a", "1")).await.unwrap().revision, 2);
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.events.len()), (2, 1));
}

#[tokio::test]
async fn history_is_capped() {
    let store = MemStore::with_history(2);
    for n in 2..=6 {
        assert_eq!(store.txn(Txn::put("a", n.to_string())).await.unwrap().revision, n);
    }
    let read = |revision| store.get(b"a", ReadAt::Revision(revision));
    assert_eq!(read(3).await, Err(StoreError::Compacted { requested: 3, oldest: 4 }));
    assert_eq!(read(4).await.unwrap().kv.unwrap().value, "4");
    assert_eq!(store.status().compacted_revision, 4);
}

#[tokio::test]
async fn faults_are_injected() {
    let store = MemStore::new();
    let lost = StoreError::Unknown("lost".into());
    store.inject(Fault::Before(StoreError::Unavailable("down".into())));
    store.inject(Fault::After(lost.clone()));
    assert!(store.txn(Txn::put("a", "1")).await.is_err());
    assert_eq!(store.applied_revision(), FIRST_REVISION);
    assert_eq!(store.txn(Txn::put("a", "1")).await, Err(lost));
    assert_eq!(store.applied_revision(), 2);
    assert_eq!(store.txn(Txn::put("a", "2")).await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_read_of_the_future_gives_up() {
    let store = MemStore::new();
    let read = store.get(b"a", ReadAt::Revision(9)).await;
    assert_eq!(read, Err(StoreError::FutureRevision { requested: 9, current: 1 }));
}
