//! What the tests of clusters have in common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store_api::{Op, ReadAt, Revision, Store, StoreError, Txn};
use store_node::RaftStore;
use store_node::test_support::{Options, PATIENCE};

pub(crate) async fn put(store: &RaftStore, key: &str, value: &str) -> Revision {
    let txn = Txn::put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    store.txn(txn).await.expect("written").revision
}

pub(crate) async fn get(store: &RaftStore, key: &str, at: ReadAt) -> Result<Option<String>, StoreError> {
    let reply = store.get(key.as_bytes(), at).await?;
    Ok(reply.kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

/// A killed replica lets go of its disk a moment later.
pub(crate) fn patiently<T>(open: impl Fn() -> Result<T, StoreError>) -> T {
    let started = Instant::now();
    loop {
        match open() {
            Ok(opened) => return opened,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) async fn read_all(store: &Arc<RaftStore>, count: usize) {
    for n in 0..count {
        assert_eq!(get(store, &format!("k{n}"), ReadAt::Linearizable).await, Ok(Some(n.to_string())), "k{n}");
    }
}

pub(crate) fn snapshots_every(entries: u64) -> Options {
    Options { snapshot_entries: entries, ..Options::default() }
}

pub(crate) fn put_op(key: &'static str) -> Op {
    Op::Put { key: key.into(), value: "v".into(), lease: 0 }
}
