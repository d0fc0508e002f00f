//! Administration: names, learners, leadership, hashes, copies, space.

use std::time::{Duration, Instant};

use store_api::{
    Admin, FIRST_REVISION, MemberError, MemberUpdate, Op, RangeRequest, ReadAt, Store, StoreError, Txn, WatchRequest,
};
use store_node::test_support::{Cluster, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_is_at_revision_one() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store(1);
    assert_eq!(store.read_barrier().await, Ok(FIRST_REVISION));
    let first = store.get(b"a", ReadAt::Revision(FIRST_REVISION)).await.expect("read");
    assert_eq!((first.kv, first.revision), (None, FIRST_REVISION));
    let request = WatchRequest { start: "a".into(), end: "b".into(), from: FIRST_REVISION };
    let mut watch = store.watch(request).await.expect("watch");
    assert_eq!(store.txn(Txn::put("a", "1")).await.expect("written").revision, 2);
    let events = loop {
        let batch = watch.next().await.expect("watched");
        if !batch.events.is_empty() {
            break batch.events;
        }
    };
    assert_eq!(events[0].kv().mod_revision, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_tell_their_names_and_learners_are_promoted() {
    let mut cluster = Cluster::start(2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let store = cluster.store(follower);
    store.announce("two", &["https://h:2379".to_owned()]).await;
    let known = |id| cluster.store(leader).status().members.into_iter().find(|member| member.id == id).expect("known");
    assert_eq!((known(follower).name.as_str(), known(follower).client_urls), ("two", vec!["https://h:2379".into()]));
    assert_eq!(known(leader).name, "");
    let taken = MemberUpdate { peer_addr: Some(known(leader).peer_addr), ..MemberUpdate::default() };
    assert_eq!(store.member_update(follower, taken).await, Err(MemberError::AddressTaken.into()));

    let id = store.new_member_id().await.expect("an id");
    let update = MemberUpdate::default();
    assert_eq!(store.member_update(id, update).await, Err(MemberError::NotFound.into()));
    assert_eq!(store.member_promote(id).await, Err(MemberError::NotFound.into()));
    assert_eq!(store.member_remove(id).await, Err(MemberError::NotFound.into()));
    assert_eq!(store.member_promote(leader).await, Err(MemberError::NotLearner.into()));
    for n in 0..20 {
        store.txn(Txn::put("a", n.to_string())).await.expect("written");
    }
    cluster.add_node(id).await;
    store.add_member(cluster.member(id, false), false).await.expect("added");
    let voter = |id| cluster.store(leader).status().members.iter().any(|member| member.id == id && member.voter);
    assert!(!voter(id));
    let started = Instant::now();
    while let Err(error) = store.member_promote(id).await {
        assert_eq!(error, MemberError::NotReady.into());
        assert!(started.elapsed() < PATIENCE, "the learner does not catch up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(voter(id));
    store.member_remove(id).await.expect("removed");
    assert_eq!(cluster.store(leader).status().members.len(), 2);
}

/// Whoever has a certificate for an id that was given out may ask to be a member, for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_asks_to_be_a_member() {
    let mut cluster = Cluster::start(2).await;
    let known: Vec<_> = cluster.ids().into_iter().map(|id| (id, cluster.member(id, true).peer_addr)).collect();
    let id = cluster.store(1).new_member_id().await.expect("an id");
    cluster.add_node(id + 1).await;
    let early = cluster.store(id + 1).join(&known, cluster.member(id + 1, false), true).await;
    assert!(matches!(&early, Err(StoreError::Invalid(why)) if why.contains("was not given out")), "{early:?}");
    cluster.add_node(id).await;
    let joining = cluster.store(id);
    let for_another = joining.join(&known, cluster.member(id + 1, false), true).await;
    assert!(for_another.is_err_and(|error| error.to_string().contains("for itself only")));
    joining.join(&known, cluster.member(id, false), false).await.expect("a learner");
    joining.wait_ready(PATIENCE).await.expect("ready");
    let voters = |cluster: &Cluster| cluster.store(1).status().members.iter().filter(|member| member.voter).count();
    assert_eq!(voters(&cluster), 2);
    joining.join(&known, cluster.member(id, false), true).await.expect("a voter");
    assert_eq!(voters(&cluster), 3);
    joining.join(&[], cluster.member(id, false), true).await.expect("it is one already");
    cluster.kill(id + 1).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_sent() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    assert_eq!(cluster.store(follower).move_leader(leader).await, Err(MemberError::NotLeader.into()));
    assert_eq!(cluster.store(leader).move_leader(77).await, Err(MemberError::NotVoter.into()));
    cluster.store(leader).move_leader(leader).await.expect("it leads already");
    cluster.store(leader).move_leader(follower).await.expect("moved");
    assert_eq!(cluster.leader().await, follower);
    cluster.store(leader).txn(Txn::put("a", "1")).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lease_has_left_is_the_leaders_word() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let store = cluster.store(cluster.follower().await);
    let ttl = Duration::from_secs(60);
    let lease = store.lease_grant_as(7, ttl).await.expect("granted");
    let success = vec![Op::Put { key: "held".into(), value: "v".into(), lease }];
    store.txn(Txn { success, ..Txn::default() }).await.expect("written");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = store.lease(lease).await.expect("info");
    assert_eq!((before.ttl, before.keys), (ttl, vec!["held".into()]));
    assert!(before.remaining < ttl - Duration::from_millis(450), "{:?}", before.remaining);
    // A new leader starts all leases afresh.
    cluster.kill(leader).await;
    let new = cluster.leader_among_others(leader).await;
    let started = Instant::now();
    while cluster.store(new).lease(lease).await.expect("info").remaining <= before.remaining {
        assert!(started.elapsed() < PATIENCE, "the lease was not started afresh");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.lease(lease).await.expect("info").remaining > before.remaining);
    assert_eq!(store.leases().await, Ok(vec![7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_are_compared_and_copied() {
    let cluster = Cluster::start(3).await;
    let store = cluster.store(cluster.leader().await);
    for n in 0..50 {
        store.txn(Txn::put(format!("k{}", n % 7), vec![b'v'; 10_000])).await.expect("written");
    }
    let middle = store.applied_revision() - 10;
    cluster.converge().await;
    let hashes = |at: Option<u64>| {
        let stores: Vec<_> = cluster.ids().into_iter().map(|id| cluster.store(id)).collect();
        async move {
            let mut hashes = Vec::new();
            for store in stores {
                hashes.push(store.hash_at(at).await);
            }
            hashes
        }
    };
    for at in [None, Some(middle)] {
        let found = hashes(at).await;
        assert!(found.iter().all(|hash| hash.is_ok() && hash == &found[0]), "{found:?}");
    }
    assert_ne!(hashes(None).await[0], hashes(Some(middle)).await[0]);
    store.compact(middle).await.expect("compacted");
    // Whether the garbage is gone makes no difference.
    store.collect_garbage().await.expect("collected");
    store.defragment().await.expect("defragmented");
    cluster.converge().await;
    let found = hashes(Some(middle + 1)).await;
    assert!(found.iter().all(|hash| hash.is_ok() && hash == &found[0]), "{found:?}");
    let oldest = StoreError::Compacted { requested: middle - 1, oldest: middle };
    assert_eq!(store.hash_at(Some(middle - 1)).await, Err(oldest));
    assert!(matches!(store.hash_at(Some(10_000)).await, Err(StoreError::FutureRevision { .. })));

    let copy = store.snapshot().await.expect("a copy");
    let path = copy.path.clone();
    assert_eq!((copy.revision, copy.bytes), (store.applied_revision(), std::fs::metadata(&path).expect("there").len()));
    drop(copy);
    assert!(!path.exists(), "a copy nobody wants is removed");
    let request = RangeRequest { count_only: true, ..RangeRequest::prefix(b"k", ReadAt::Local) };
    assert_eq!(store.range(request).await.expect("range").count, 7);
}
