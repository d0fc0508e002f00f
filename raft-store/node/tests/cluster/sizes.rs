//! Large objects, large answers, many leases, long histories.

use std::time::{Duration, Instant};

use store_api::{Op, OpReply, RangeRequest, ReadAt, Store, StoreError, Txn};
use store_node::test_support::{Cluster, Options, PATIENCE};

use crate::support::{get, put};

/// What a write replaced or deleted may be larger than any message; whoever forwarded it gets it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_write_may_have_a_large_answer() {
    const BYTES: usize = 3 << 19;
    let cluster = Cluster::start(3).await;
    let follower = cluster.store(cluster.follower().await);
    for n in 0..20 {
        follower.txn(Txn::put(format!("large/{n:02}"), vec![n as u8; BYTES])).await.expect("written");
    }
    let op = Op::DeleteRange { start: "large/".into(), end: "large0".into() };
    let txn = Txn { success: vec![op], want_previous: true, ..Txn::default() };
    let reply = follower.txn(txn).await.expect("deleted");
    let [OpReply::Deleted { count: 20, previous: deleted }] = &reply.replies[..] else {
        panic!("{} replies", reply.replies.len())
    };
    assert_eq!(deleted.len(), 20);
    assert!((0..).zip(deleted).all(|(n, kv)| kv.value.len() == BYTES && kv.value[0] == n), "each with its value");
    cluster.converge().await;
}

/// Entries near the size limit reach a replica that missed hundreds of them, though its peers have them on disk only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_catches_up_on_large_objects() {
    const OBJECTS: usize = 40;
    const BYTES: usize = 3 << 19;
    let mut cluster = Cluster::start(3).await;
    let behind = cluster.follower().await;
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    for n in 0..OBJECTS {
        let txn = Txn::put(format!("k{n}"), vec![n as u8; BYTES]);
        cluster.store(leader).txn(txn).await.expect("written");
    }
    cluster.restart(behind).await;
    cluster.store(behind).wait_ready(PATIENCE).await.expect("caught up");
    let kv = cluster.store(behind).get(b"k39", ReadAt::Local).await.expect("read").kv.expect("there");
    assert_eq!((kv.value.len(), kv.value[0]), (BYTES, 39));
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_a_write_is_refused() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store(1);
    let refused = store.txn(Txn::put("big", vec![0u8; store_api::MAX_TXN_BYTES + 1])).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    store.txn(Txn::put("big", vec![7u8; store_api::MAX_TXN_BYTES - 100])).await.expect("fits");
}

/// Many leases that end together need few log entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_end_together() {
    const LEASES: usize = 600;
    let cluster = Cluster::start(3).await;
    let store = cluster.store(cluster.follower().await);
    let grant = || async {
        let lease = store.lease_grant(Duration::from_secs(4)).await.expect("granted");
        let op = Op::Put { key: format!("held/{lease}").into(), value: "v".into(), lease };
        store.txn(Txn { success: vec![op], ..Txn::default() }).await.expect("written");
    };
    futures::future::join_all((0..LEASES).map(|_| grant())).await;
    let count = async || {
        let held = RangeRequest::prefix(b"held/", ReadAt::Linearizable);
        store.range(held).await.expect("read").kvs.len()
    };
    assert_eq!(count().await, LEASES);
    let before = store.status().last_log_index;
    let started = Instant::now();
    while count().await > 0 {
        assert!(started.elapsed() < PATIENCE, "{} are left", count().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let entries = store.status().last_log_index - before;
    println!("{LEASES} leases ended with {entries} entries");
    assert!(entries < 60, "{entries} entries");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_history_is_compacted_by_age() {
    let options = Options { history: Duration::from_millis(600), ..Options::default() };
    let cluster = Cluster::start_with(1, options).await;
    let store = cluster.store(1);
    let first = put(&store, "a", "1").await;
    put(&store, "a", "2").await;
    let started = Instant::now();
    while store.status().compacted_revision <= first && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = store.get(b"a", ReadAt::Revision(first)).await;
    assert!(matches!(read, Err(StoreError::Compacted { .. })), "{read:?}");
    assert_eq!(get(&store, "a", ReadAt::Linearizable).await, Ok(Some("2".into())));
}
