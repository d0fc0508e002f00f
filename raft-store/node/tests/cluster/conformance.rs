//! The store's conformance suite on real clusters: alone, through the leader, through a follower.

use std::sync::Arc;

use store_api::{DynStore, conformance};
use store_node::test_support::Cluster;

async fn suite(replicas: u64, through_leader: bool) {
    let cluster = Cluster::start(replicas).await;
    for check in conformance::checks() {
        println!(
            "{replicas} replicas, through the {}: {}",
            if through_leader { "leader" } else { "follower" },
            check.name
        );
        let id = if through_leader { cluster.leader().await } else { cluster.follower().await };
        let store: DynStore = cluster.store(id) as Arc<_>;
        check.run(store).await;
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone() {
    suite(1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_leader() {
    suite(3, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_follower() {
    suite(3, false).await;
}
