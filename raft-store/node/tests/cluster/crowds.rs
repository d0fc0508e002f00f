//! Many writers at once.

use std::time::Duration;

use store_api::{ReadAt, Store, Txn};
use store_node::test_support::{Cluster, PATIENCE};

use crate::support::{get, put};

/// Writes wait for each other to enter the log together; whoever leaves meanwhile keeps nobody from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_keeps_nobody_waiting() {
    const WRITERS: usize = 100;
    let cluster = Cluster::start(3).await;
    let leader = cluster.store(cluster.leader().await);
    for round in 0..20 {
        let write = |n| {
            let store = leader.clone();
            tokio::spawn(async move { store.txn(Txn::put(format!("{round}/{n}"), "v")).await })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        // Some are under way by now, others wait.
        tokio::time::sleep(Duration::from_micros(round * 200)).await;
        writers.iter().step_by(3).for_each(tokio::task::JoinHandle::abort);
        for (n, writer) in writers.into_iter().enumerate() {
            match writer.await {
                Ok(written) => drop(written.expect("written")),
                Err(error) => assert!(error.is_cancelled() && n % 3 == 0, "{error}"),
            }
        }
        for n in (0..WRITERS).filter(|n| n % 3 != 0) {
            let found = get(&leader, &format!("{round}/{n}"), ReadAt::Local).await;
            assert_eq!(found, Ok(Some("v".to_owned())), "{round}/{n}");
        }
    }
    put(&leader, "last", "v").await;
    cluster.converge().await;
}

/// A runtime ends while writers wait on it: their places are free again, for those of another one.
#[test]
fn a_runtime_may_end_with_its_writers() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (lasting, ending) = (runtime().expect("a runtime"), runtime().expect("a runtime"));
    lasting.block_on(async {
        let cluster = Cluster::start(1).await;
        let store = cluster.store(1);
        store.wait_ready(PATIENCE).await.expect("ready");
        for n in 0..5_000 {
            let store = store.clone();
            ending.spawn(async move { store.txn(Txn::put(format!("{n}"), "v")).await });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        tokio::task::block_in_place(|| ending.shutdown_timeout(PATIENCE));
        put(&store, "last", "v").await;
    });
}
