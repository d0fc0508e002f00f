//! Replicas that die, lag, are cut off, come back: nothing acknowledged is lost, nothing stale is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use store_api::{Event, Op, OpReply, RangeRequest, ReadAt, RequestId, Revision, Store, StoreError, Txn, WatchRequest};
use store_core::Command;
use store_engine::{ApplyEntry, ApplyPayload, RaftLog, StateMachine};
use store_node::RaftStore;
use store_node::test_support::{Cluster, Options, PATIENCE};

async fn put(store: &RaftStore, key: &str, value: &str) -> Revision {
    let txn = Txn::put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    store.txn(txn).await.expect("written").revision
}

async fn get(store: &RaftStore, key: &str, at: ReadAt) -> Result<Option<String>, StoreError> {
    let reply = store.get(key.as_bytes(), at).await?;
    Ok(reply.kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

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

/// A killed replica lets go of its disk a moment later.
fn patiently<T>(open: impl Fn() -> Result<T, StoreError>) -> T {
    let started = Instant::now();
    loop {
        match open() {
            Ok(opened) => return opened,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn read_all(store: &Arc<RaftStore>, count: usize) {
    for n in 0..count {
        assert_eq!(get(store, &format!("k{n}"), ReadAt::Linearizable).await, Ok(Some(n.to_string())), "k{n}");
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

fn snapshots_every(entries: u64) -> Options {
    Options { snapshot_entries: entries, ..Options::default() }
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

/// A replica applies what a quorum has, perhaps before its own log is durable: a crash leaves the state ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_ahead_of_its_log_leads_a_replica_that_is_behind() {
    let mut cluster = Cluster::start_with(3, Options { snapshot_entries: 40, ..Options::default() }).await;
    for n in 0..60 {
        put(&cluster.store(1), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    let (behind, ahead) = (3, 1);
    cluster.kill(behind).await;
    for n in 60..65 {
        put(&cluster.store(ahead), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    let last = cluster.store(ahead).status().last_log_index;
    cluster.kill(2).await;
    cluster.kill(ahead).await;
    let log = patiently(|| RaftLog::open(cluster.data_dir(ahead)));
    log.truncate(last).expect("truncated");
    drop(log);
    cluster.restart(ahead).await;
    cluster.restart(behind).await;
    cluster.store(behind).wait_ready(PATIENCE).await.expect("caught up");
    read_all(&cluster.store(behind), 65).await;
    cluster.restart(2).await;
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

fn put_op(key: &'static str) -> Op {
    Op::Put { key: key.into(), value: "v".into(), lease: 0 }
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

/// A bit flipped on the leader's disk must not keep everyone who needs its snapshot out for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_noticed_by_its_receiver_and_taken_anew() {
    let mut cluster = Cluster::start_with(3, snapshots_every(50)).await;
    let behind = cluster.follower().await;
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    for n in 0..300 {
        put(&cluster.store(leader), &format!("k{n}"), &n.to_string()).await;
    }
    for id in cluster.ids().into_iter().filter(|id| *id != behind) {
        for file in std::fs::read_dir(cluster.data_dir(id).join("snapshots")).expect("listed").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "snap") {
                let mut content = std::fs::read(file.path()).expect("read");
                let middle = content.len() / 2;
                content[middle] ^= 4;
                std::fs::write(file.path(), content).expect("written");
            }
        }
    }
    cluster.restart(behind).await;
    cluster.store(behind).wait_ready(PATIENCE).await.expect("caught up");
    read_all(&cluster.store(behind), 300).await;
    cluster.converge().await;
}

/// Few entries, and large ones: neither the log nor the history may fill the disk before their number does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_history_are_bounded_in_bytes_too() {
    const OBJECTS: u64 = 60;
    let options = Options { log_bytes: 10 << 20, history_bytes: 10 << 20, ..Options::default() };
    let mut cluster = Cluster::start_with(1, options).await;
    let store = cluster.store(1);
    for n in 0..OBJECTS {
        store.txn(Txn::put("large", vec![n as u8; 1 << 20])).await.expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is looked at once a second, so some more are left than fit.
    let started = Instant::now();
    while store.status().compacted_revision < OBJECTS / 3 {
        assert!(started.elapsed() < PATIENCE, "compacted up to {} only", store.status().compacted_revision);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.get(b"large", ReadAt::Local).await.expect("read").kv.map(|kv| kv.version), Some(OBJECTS));
    // The log is purged a little later, and what is purged is seen on disk.
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(store);
    cluster.kill(1).await;
    let bounds = patiently(|| RaftLog::open(cluster.data_dir(1))).bounds();
    let (first, last) = bounds.expect("entries");
    println!("the log holds {first} to {last}");
    assert!(last >= OBJECTS && first > OBJECTS - 30, "{first} to {last}");
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
    let [OpReply::Deleted { count: 20, previous: deleted }] = &reply.replies[..] else { panic!("{} replies", reply.replies.len()) };
    assert_eq!(deleted.len(), 20);
    assert!((0..).zip(deleted).all(|(n, kv)| kv.value.len() == BYTES && kv.value[0] == n), "each with its value");
    cluster.converge().await;
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

/// A disk that fills up stops what grows the store, not what makes room, and all goes on when there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_grows_the_store_only() {
    let mut cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let store = cluster.store(follower);
    let revision = put(&store, "a", "1").await;
    let lease = store.lease_grant(Duration::from_secs(60)).await.expect("granted");
    for id in cluster.ids() {
        cluster.set_reserve(id, u64::MAX);
    }
    for id in [leader, follower] {
        let refused = cluster.store(id).txn(Txn::put("b", "2")).await;
        assert!(matches!(refused, Err(StoreError::NoSpace(_))), "{refused:?}");
    }
    store.lease_renew(lease).await.expect("renewed");
    store.lease_revoke(lease).await.expect("ended");
    store.txn(Txn::delete("a")).await.expect("deleted");
    store.compact(revision).await.expect("compacted");
    let id = store.allocate_node_id().await.expect("an id");
    cluster.add_node(id).await;
    store.add_member(cluster.member(id, false), false).await.expect("added");
    for id in cluster.ids() {
        cluster.set_reserve(id, 0);
    }
    put(&store, "b", "2").await;
    cluster.converge().await;
}

/// One of three replicas applied something else than the others, whatever the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_state_differs_is_fenced_off() {
    let mut cluster = Cluster::start(3).await;
    let wrong = cluster.follower().await;
    put(&cluster.store(1), "a", "1").await;
    cluster.converge().await;
    cluster.kill(wrong).await;
    let state = patiently(|| StateMachine::open(cluster.data_dir(wrong)));
    let (log_id, _) = state.last_applied().expect("a position");
    let log_id = kontiki_proto::log::LogId::decode(log_id.expect("applied").as_ref()).expect("a log id");
    let log_id = kontiki_proto::log::LogId { index: log_id.index + 1, ..log_id };
    let payload = ApplyPayload::Command(Command::Txn(Txn::put("a", "wrong")));
    let entry = ApplyEntry { index: log_id.index, log_id: log_id.encode_to_vec().into(), payload };
    state.apply(&[entry]).expect("applied");
    drop(state);
    let right = cluster.leader_among_others(wrong).await;
    put(&cluster.store(right), "a", "right").await;
    cluster.restart(wrong).await;
    let started = Instant::now();
    let differs = |health: Result<(), String>| health.is_err_and(|why| why.contains("differs from that of the others"));
    while !differs(cluster.store(wrong).health()) {
        put(&cluster.store(right), "b", "1").await;
        assert!(started.elapsed() < PATIENCE, "still {:?}", cluster.store(wrong).health());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("fenced off after {:?}", started.elapsed());
    let read = get(&cluster.store(wrong), "a", ReadAt::Local).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert_eq!(cluster.store(right).health(), Ok(()));
    assert_eq!(get(&cluster.store(right), "a", ReadAt::Linearizable).await, Ok(Some("right".into())));
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
