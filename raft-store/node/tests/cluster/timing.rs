//! Elections on networks that are slow.

use std::time::{Duration, Instant};

use store_api::Store;
use store_node::test_support::{Cluster, PATIENCE};

use crate::support::put;

/// Longer than the configured election timeout.
const PAUSE: Duration = Duration::from_millis(1_200);
const BETWEEN: Duration = Duration::from_millis(600);

/// All links stop for a while, as when a network or a machine is overloaded.
async fn hiccup(cluster: &Cluster) {
    for id in cluster.ids() {
        cluster.stall(id);
    }
    tokio::time::sleep(PAUSE).await;
    cluster.links.heal();
    tokio::time::sleep(BETWEEN).await;
}

async fn terms(cluster: &Cluster, hiccups: u32) -> u64 {
    let before = cluster.store(1).status().term;
    for _ in 0..hiccups {
        hiccup(cluster).await;
    }
    cluster.store(1).status().term - before
}

/// At first every pause costs a leader its place. Once round trips are known to take so long, it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_wait_as_long_as_round_trips_take() {
    let mut cluster = Cluster::start(3).await;
    let started = Instant::now();
    loop {
        hiccup(&cluster).await;
        if cluster.ids().into_iter().all(|id| cluster.election_patience(id) > 2 * PAUSE) {
            break;
        }
        assert!(started.elapsed() < 2 * PATIENCE, "round trips are not noticed");
    }
    println!("adapted after {:?}", started.elapsed());
    cluster.leader().await;
    let elections = terms(&cluster, 8).await;
    assert_eq!(elections, 0, "a leader is not deposed for a pause that is usual");
    put(&cluster.store(1), "a", "1").await;
    // One that is dead is replaced all the same.
    let leader = cluster.leader().await;
    let killed = Instant::now();
    cluster.kill(leader).await;
    cluster.leader_among_others(leader).await;
    println!("another leads after {:?}", killed.elapsed());
    let other = cluster.ids().into_iter().find(|id| *id != leader).expect("another");
    put(&cluster.store(other), "a", "2").await;
}
