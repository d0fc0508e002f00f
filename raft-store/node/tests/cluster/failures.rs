//! Replicas that die, lag, are cut off, come back: nothing acknowledged is lost, nothing stale is read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use store_api::{Event, Op, ReadAt, RequestId, Store, StoreError, Txn, WatchRequest};
use store_node::RaftStore;
use store_node::test_support::{Cluster, PATIENCE};

use crate::support::{get, put, put_op, read_all, snapshots_every};

/// Puts until it is answered, as a client with retries does; answers how long that took.
async fn first_answer(store: &RaftStore, key: &str) -> Duration {
    let started = Instant::now();
    loop {
        match store.txn(Txn::put(Bytes::copy_from_slice(key.as_bytes()), "v")).await {
            Ok(_) => return started.elapsed(),
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) if started.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..50 {
        put(&cluster.store(1 + n % 3), &format!("k{n}"), &n.to_string()).await;
    }
    let leader = cluster.leader().await;
    let survivor = cluster.store(cluster.follower().await);
    cluster.kill(leader).await;
    let took = first_answer(&survivor, "after").await;
    println!("another replica answered {took:?} after the leader died");
    assert!(took < Duration::from_secs(4), "{took:?}");
    read_all(&survivor, 50).await;
    cluster.restart(leader).await;
    cluster.store(leader).wait_ready(PATIENCE).await.expect("ready");
    read_all(&cluster.store(leader), 50).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_follower_has_everything() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let leader = cluster.store(cluster.leader().await);
    for n in 0..20 {
        put(&leader, &format!("k{n}"), &n.to_string()).await;
    }
    cluster.kill(follower).await;
    for n in 20..40 {
        put(&leader, &format!("k{n}"), &n.to_string()).await;
    }
    cluster.restart(follower).await;
    read_all(&cluster.store(follower), 40).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_restart() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..30 {
        put(&cluster.store(1), &format!("k{n}"), &n.to_string()).await;
    }
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    for id in cluster.ids() {
        cluster.restart(id).await;
        assert!(cluster.store(id).is_initialized());
    }
    read_all(&cluster.store(2), 30).await;
    put(&cluster.store(3), "more", "1").await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.store(cluster.follower().await);
    put(&other, "a", "1").await;
    cluster.shutdown(leader).await;
    let took = first_answer(&other, "b").await;
    println!("answered {took:?} after the leader had stopped");
    assert!(took < Duration::from_millis(450), "{took:?}: longer than without an election timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_and_a_far_behind_replica_catch_up_by_snapshot() {
    let mut cluster = Cluster::start_with(3, snapshots_every(100)).await;
    let behind = cluster.follower().await;
    put(&cluster.store(1), "k0", "0").await;
    cluster.converge().await;
    let watched = cluster.store(behind);
    let from = watched.applied_revision() + 1;
    let mut watch = watched.watch(WatchRequest { start: "k".into(), end: "l".into(), from }).await.expect("watch");
    cluster.isolate(behind);
    let leader = cluster.store(cluster.leader_among_others(behind).await);
    for n in 1..1_500 {
        put(&leader, &format!("k{}", n % 400), &n.to_string()).await;
    }
    let last = leader.applied_revision();
    cluster.links.heal();
    // The watcher sees each revision once, in order, across the replaced state.
    let mut next = from;
    while next <= last {
        let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("history is kept");
        for event in &batch.events {
            assert_eq!(event.kv().mod_revision, next, "a gap or a repetition");
            next += 1;
        }
        assert_eq!(batch.revision + 1, next);
    }
    cluster.converge().await;

    let id = cluster.store(behind).allocate_node_id().await.expect("an id");
    assert_eq!(id, 4);
    cluster.add_node(4).await;
    let member = cluster.member(4, true);
    cluster.store(behind).add_member(member, true).await.expect("added");
    cluster.store(4).wait_ready(PATIENCE).await.expect("ready");
    assert_eq!(get(&cluster.store(4), "k399", ReadAt::Linearizable).await, Ok(Some("1199".into())));
    let status = cluster.store(4).status();
    assert_eq!(status.members.iter().filter(|member| member.voter).count(), 4);
    cluster.converge().await;
    cluster.kill(4).await;
    cluster.restart(4).await;
    cluster.store(4).wait_ready(PATIENCE).await.expect("ready");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_has_one_effect() {
    let cluster = Cluster::start(3).await;
    let request = Some(RequestId { client: 7, seq: 1 });
    let txn = Txn { request, ..Txn::put("once", "v") };
    let tries = (0..12).map(|n| {
        let (store, txn) = (cluster.store(1 + n % 3), txn.clone());
        tokio::spawn(async move { store.txn(txn).await.expect("answered") })
    });
    let replies: Vec<_> = futures::future::join_all(tries).await.into_iter().map(|reply| reply.expect("ran")).collect();
    assert!(replies.iter().all(|reply| reply == &replies[0]), "one answer: {replies:?}");
    let kv = cluster.store(2).get(b"once", ReadAt::Linearizable).await.expect("read").kv.expect("written");
    assert_eq!(kv.version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_retried_over_leader_changes_have_one_effect_each() {
    let mut cluster = Cluster::start(3).await;
    let writer = cluster.store(cluster.follower().await);
    let mut count = 0;
    for round in 0..2 {
        let leader = cluster.leader().await;
        if leader == writer.status().id {
            continue;
        }
        let increments = (0..40).map(|n| {
            let writer = writer.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 5)).await;
                let txn = Txn { success: vec![put_op("counter")], ..Txn::default() };
                writer.txn(txn).await.is_ok()
            })
        });
        let increments: Vec<_> = increments.collect();
        tokio::time::sleep(Duration::from_millis(60)).await;
        cluster.kill(leader).await;
        let acknowledged = futures::future::join_all(increments).await;
        // Forwarded writes carry ids, so every one is known to have happened, exactly once.
        assert!(acknowledged.iter().all(|done| *done.as_ref().expect("ran")), "round {round}");
        count += acknowledged.len() as u64;
        cluster.restart(leader).await;
        cluster.store(leader).wait_ready(PATIENCE).await.expect("ready");
    }
    let kv = writer.get(b"counter", ReadAt::Linearizable).await.expect("read").kv.expect("written");
    assert_eq!(kv.version, count);
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_old_leader_serves_no_linearizable_read_and_takes_no_write() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    put(&cluster.store(old), "a", "old").await;
    cluster.converge().await;
    cluster.isolate(old);
    let new = cluster.leader_among_others(old).await;
    put(&cluster.store(new), "a", "new").await;
    let alone = cluster.store(old);
    let (read, write) = tokio::join!(get(&alone, "a", ReadAt::Linearizable), alone.txn(Txn::put("a", "lost")));
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(write, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{write:?}");
    assert_eq!(get(&cluster.store(old), "a", ReadAt::Local).await, Ok(Some("old".into())));
    cluster.links.heal();
    assert_eq!(get(&cluster.store(old), "a", ReadAt::Linearizable).await, Ok(Some("new".into())));
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_a_leader_change_and_then_ends() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let store = cluster.store(cluster.follower().await);
    let ttl = Duration::from_millis(2_000);
    let lease = store.lease_grant(ttl).await.expect("granted");
    let op = Op::Put { key: "held".into(), value: "v".into(), lease };
    let written = store.txn(Txn { success: vec![op], ..Txn::default() }).await.expect("written").revision;
    tokio::time::sleep(ttl / 2).await;
    store.lease_renew(lease).await.expect("renewed");
    let renewed = Instant::now();
    cluster.kill(leader).await;
    let request = WatchRequest { start: "held".into(), end: "helf".into(), from: written + 1 };
    let mut watch = store.watch(request).await.expect("watch");
    let events = loop {
        let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("watched");
        if !batch.events.is_empty() {
            break batch.events;
        }
    };
    assert!(matches!(&events[..], [Event::Delete { .. }]), "{events:?}");
    assert!(renewed.elapsed() >= ttl, "ended {:?} after its renewal, before its time", renewed.elapsed());
    assert_eq!(store.lease_renew(lease).await, Err(StoreError::LeaseNotFound(lease)));
}

/// A paused leader keeps its connections and answers nothing: who waits for it goes to the new one at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_leader_that_hangs() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let follower = cluster.store(cluster.follower().await);
    put(&follower, "before", "1").await;
    cluster.stall(old);
    let started = Instant::now();
    let write = async {
        put(&follower, "key", "2").await;
        started.elapsed()
    };
    let read = async {
        get(&follower, "before", ReadAt::Linearizable).await.expect("read");
        started.elapsed()
    };
    let new_leader = async {
        cluster.leader_among_others(old).await;
        while follower.status().leader == Some(old) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    };
    let (wrote, read, led) = tokio::join!(write, read, new_leader);
    println!("a new leader after {led:?}, a write after {wrote:?}, a read after {read:?}");
    let limit = led + Duration::from_millis(600);
    assert!(wrote < limit && read < limit, "led {led:?}, wrote {wrote:?}, read {read:?}");
    cluster.links.heal();
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_out_of_contact_is_not_well() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let becomes = async |id, well: bool| {
        let started = Instant::now();
        while cluster.store(id).health().is_ok() != well {
            assert!(started.elapsed() < PATIENCE, "replica {id}: {:?}", cluster.store(id).health());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for id in [leader, follower] {
        becomes(id, true).await;
        cluster.isolate(id);
        becomes(id, false).await;
        cluster.links.heal();
        becomes(id, true).await;
    }
}

/// One way. There and back must take less than the half lease, 250 ms, that openraft waits for the answer to a
/// heartbeat: beyond it a leader that nobody writes to is not sure of its lease any more (chaos/ledger.md).
const FAR: Duration = Duration::from_millis(100);
/// Many times the longest election timeout.
const CALM: Duration = Duration::from_secs(5);

fn move_apart(cluster: &Cluster) {
    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        cluster.links.delay(one, other, FAR);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distance_is_no_failure() {
    let cluster = Cluster::start(3).await;
    put(&cluster.store(1), "k", "v").await;
    move_apart(&cluster);
    // Nobody writes, so that heartbeats are all there is.
    for id in cluster.ids() {
        let started = Instant::now();
        while let Err(error) = get(&cluster.store(id), "k", ReadAt::Linearizable).await {
            assert!(started.elapsed() < PATIENCE, "replica {id} cannot be read: {error}");
        }
    }
    let term = cluster.store(1).status().term;
    tokio::time::sleep(CALM).await;
    assert_eq!(cluster.store(1).status().term, term, "somebody was elected for nothing but distance");
    put(&cluster.store(2), "k", "w").await;
    assert_eq!(get(&cluster.store(3), "k", ReadAt::Linearizable).await, Ok(Some("w".into())));
}

/// Writes come at a steady pace, and each of them waits for one round trip: not for those that are on their way already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_to_far_replicas_waits_for_one_round_trip() {
    const WRITES: u32 = 64;
    const A_ROUND_TRIP: u32 = 16;
    let cluster = Cluster::start(3).await;
    let leader = cluster.store(cluster.leader().await);
    move_apart(&cluster);
    let round_trip = 2 * FAR;
    // It learns how far they are.
    tokio::time::sleep(CALM).await;
    // Nobody's next write waits for an answer: writers that do come all at once, soon, and share a batch.
    let writer = |n: u32| {
        let leader = leader.clone();
        tokio::spawn(async move {
            tokio::time::sleep(round_trip * n / A_ROUND_TRIP).await;
            let begun = Instant::now();
            put(&leader, &format!("w{n}"), "v").await;
            begun.elapsed()
        })
    };
    let writers: Vec<_> = (0..WRITES).map(writer).collect();
    let mut took = Vec::new();
    for writer in writers {
        took.push(writer.await.expect("no panic"));
    }
    took.sort_unstable();
    let median = took[took.len() / 2];
    assert!(median < round_trip * 13 / 10, "a write takes {median:?}, a round trip {round_trip:?}");
}
