//! Who may be a member, and who may talk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store_api::{ReadAt, Store, StoreError, Txn};
use store_node::test_support::{Cluster, LinkedDial, Links, Options, PATIENCE, TestCa};
use store_node::{NodeConfig, RaftStore};

async fn start(config: NodeConfig) -> Result<Arc<RaftStore>, StoreError> {
    RaftStore::start_with(config, Arc::new(LinkedDial { from: 9, links: Arc::<Links>::default() })).await
}

fn refusal(result: Result<Arc<RaftStore>, StoreError>) -> String {
    match result {
        Err(StoreError::Invalid(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_replica_stops_and_never_comes_back() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let gone = cluster.follower().await;
    cluster.store(gone).remove_member(gone, false).await.ok();
    let started = Instant::now();
    while cluster.store(gone).get(b"a", ReadAt::Local).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "the removed replica still answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.kill(gone).await;
    let why = refusal(cluster.try_restart(gone).await);
    assert!(why.contains("was removed from the cluster"), "{why}");
    let left = cluster.store(leader);
    left.txn(Txn::put("a", "1")).await.expect("two of two");
    assert_eq!(left.status().members.len(), 2);
    let fresh = left.allocate_node_id().await.expect("an id");
    assert!(fresh > 3, "id {fresh} was in use");
    cluster.add_node(fresh).await;
    let member = cluster.member(fresh, false);
    left.add_member(member, true).await.expect("added");
    cluster.store(fresh).wait_ready(PATIENCE).await.expect("ready");
    cluster.converge().await;
}

/// The machine is gone for good: one step gives its place to another, and at no time do the two left not suffice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_member_is_replaced_in_one_step() {
    let mut cluster = Cluster::start(3).await;
    let dead = cluster.follower().await;
    let store = cluster.store(cluster.leader().await);
    let fresh = store.allocate_node_id().await.expect("an id");
    cluster.add_node(fresh).await;
    let member = cluster.member(fresh, true);
    let alive = store.replace_member(member.clone(), dead).await;
    assert!(matches!(&alive, Err(StoreError::Invalid(why)) if why.contains("answers, so it is not dead")), "{alive:?}");
    cluster.kill(dead).await;
    store.txn(Txn::put("a", "1")).await.expect("two of three");
    let voters = |cluster: &Cluster| -> Vec<u64> {
        let status = cluster.store(fresh).status();
        status.members.iter().filter(|member| member.voter).map(|member| member.id).collect()
    };
    store.replace_member(member.clone(), dead).await.expect("replaced");
    cluster.store(fresh).wait_ready(PATIENCE).await.expect("ready");
    let members = voters(&cluster);
    assert!(members.len() == 3 && members.contains(&fresh) && !members.contains(&dead), "{members:?}");
    store.replace_member(member, dead).await.expect("doing it again changes nothing");
    assert_eq!(voters(&cluster), members);
    assert_eq!(store.status().members.len(), 3);
    // The old one comes back, and learns that it is none any more.
    cluster.restart(dead).await;
    tokio::time::timeout(PATIENCE, cluster.store(dead).stopped()).await.expect("the replaced replica stops");
    cluster.kill(dead).await;
    store.txn(Txn::put("a", "2")).await.expect("written");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_the_preferred_zone() {
    const WITHIN: Duration = Duration::from_secs(90);
    let options = Options { leader_zones: vec!["zone-3", "zone-2"], ..Options::default() };
    let mut cluster = Cluster::start_with(3, options).await;
    let arrives = async |cluster: &Cluster, id: u64| {
        let started = Instant::now();
        while cluster.leader().await != id {
            assert!(started.elapsed() < WITHIN, "replica {id} does not lead");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("replica {id} leads after {:?}", started.elapsed());
    };
    arrives(&cluster, 3).await;
    cluster.kill(3).await;
    arrives(&cluster, 2).await;
    cluster.restart(3).await;
    arrives(&cluster, 3).await;
    cluster.store(1).txn(Txn::put("a", "1")).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_be_removed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.store(cluster.follower().await);
    let started = Instant::now();
    other.remove_member(leader, false).await.expect("removed");
    // It handed over first: another removed it, and nobody waits for an election now.
    assert!(other.status().leader.is_some_and(|id| id != leader), "{:?} leads", other.status().leader);
    other.txn(Txn::put("a", "0")).await.expect("two of two");
    println!("removed the leader and wrote after {:?}", started.elapsed());
    tokio::time::timeout(PATIENCE, cluster.store(leader).stopped()).await.expect("the removed leader stops");
    assert!(cluster.store(leader).health().is_err());
    cluster.kill(leader).await;
    other.txn(Txn::put("a", "1")).await.expect("two of two");
    assert_eq!(other.status().members.len(), 2);
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn why<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// The first replica is told its first members at every start. With its data gone it must not begin a second cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_replica_that_lost_its_data_begins_no_second_cluster() {
    let mut cluster = Cluster::start(3).await;
    let founders: Vec<_> = cluster.ids().into_iter().map(|id| cluster.member(id, true)).collect();
    cluster.kill(1).await;
    cluster.lose_store(1);
    let lost = refusal(cluster.try_restart(1).await);
    assert!(lost.contains("was a member of cluster \"test\", and its data in"), "{lost}");
    // All of the machine is gone, and what its configuration says of the first members is not.
    cluster.wipe(1);
    cluster.restart(1).await;
    assert!(!cluster.store(1).is_initialized());
    let refused = why(cluster.store(1).initialize(founders).await);
    assert!(refused.contains("is a member of a cluster already"), "{refused}");
    cluster.store(2).txn(Txn::put("a", "1")).await.expect("two of three go on");
    assert_eq!(cluster.store(1).status().leader, None);
}

/// A leader that never spoke with a replica before knows from the membership which disk it must have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_disk_gets_nothing_even_from_a_leader_that_restarted() {
    let mut cluster = Cluster::start(3).await;
    cluster.store(1).txn(Txn::put("a", "1")).await.expect("written");
    cluster.converge().await;
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    cluster.wipe(2);
    for id in cluster.ids() {
        cluster.restart(id).await;
    }
    cluster.store(1).wait_ready(PATIENCE).await.expect("two of three");
    cluster.store(3).txn(Txn::put("a", "2")).await.expect("written");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!cluster.store(2).is_initialized(), "it was given entries under its old name");
    let member = cluster.member(2, true);
    let refused = why(cluster.store(1).add_member(member, true).await);
    assert!(refused.starts_with("replica 2 lost the data it had"), "{refused}");
    cluster.store(1).remove_member(2, false).await.expect("removed");
    let member = cluster.member(2, true);
    let refused = why(cluster.store(1).add_member(member, true).await);
    assert!(refused.starts_with("replica 2 was removed"), "{refused}");
    cluster.kill(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_id_comes_from_the_cluster() {
    let mut cluster = Cluster::start(1).await;
    cluster.add_node(7).await;
    let member = cluster.member(7, true);
    let refused = why(cluster.store(1).add_member(member, true).await);
    assert_eq!(refused, "node id 7 was not given out by this cluster, the last one was 1");
    let id = cluster.store(1).allocate_node_id().await.expect("an id");
    cluster.add_node(id).await;
    let member = cluster.member(id, true);
    cluster.store(1).add_member(member, true).await.expect("added");
}

/// Of two voters left, both would be needed: the one that is down too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_would_stop_the_cluster_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let (down, leader) = (cluster.follower().await, cluster.leader().await);
    let healthy = cluster.ids().into_iter().find(|id| *id != down && *id != leader).expect("a third one");
    cluster.kill(down).await;
    let store = cluster.store(leader);
    let refused = why(store.remove_member(healthy, false).await);
    let want = format!("without replica {healthy} only 1 of 2 voters would answer, and no write would be possible:");
    assert!(refused.starts_with(&want), "{refused}");
    store.txn(Txn::put("a", "1")).await.expect("it goes on");
    store.remove_member(down, false).await.expect("the one that is down");
    store.txn(Txn::put("a", "2")).await.expect("two of two");
}

/// A leader died between the two steps of a membership change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_change_left_half_way_is_completed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let id = cluster.store(leader).allocate_node_id().await.expect("an id");
    cluster.add_node(id).await;
    let member = cluster.member(id, false);
    cluster.store(leader).add_member(member.clone(), false).await.expect("a learner");
    cluster.make_joint(leader, id).await;
    until("completed", async || !cluster.is_joint(leader)).await;
    let member_now = cluster.store(leader).status().members.into_iter().find(|member| member.id == id);
    assert!(member_now.expect("a member").voter);
    // Asking again for what was left half-way does not take it for done either.
    cluster.store(leader).add_member(member, true).await.expect("a voter");
    cluster.store(leader).txn(Txn::put("a", "1")).await.expect("written");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lost_its_disk_does_not_vote() {
    let mut cluster = Cluster::start(3).await;
    cluster.store(1).txn(Txn::put("a", "1")).await.expect("written");
    cluster.converge().await;
    cluster.kill(2).await;
    cluster.kill(3).await;
    cluster.wipe(3);
    cluster.kill(1).await;
    cluster.restart(3).await;
    cluster.restart(2).await;
    // Two of three run, but one of them forgot what it acknowledged.
    let read = cluster.store(2).get(b"a", ReadAt::Linearizable).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let leader = cluster.store(2).status().leader;
    assert!(leader.is_none_or(|dead| dead == 1), "{leader:?} leads");
    cluster.restart(1).await;
    cluster.store(2).wait_ready(PATIENCE).await.expect("two that remember");
    assert!(cluster.store(1).get(b"a", ReadAt::Linearizable).await.expect("read").kv.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_starts_only_as_what_it_is() {
    let cluster = Cluster::empty(Options::default());
    let good = cluster.config(1);
    drop(start(good.clone()).await.expect("started"));
    let other_name = NodeConfig { id: 2, ..good.clone() };
    assert_eq!(
        refusal(start(other_name).await),
        "the peer certificate is for node-1.test.kontiki, this replica is node-2.test.kontiki"
    );
    let (certificate, key) = cluster.ca.sign("other", "node-1.other.kontiki");
    let other_cluster = NodeConfig { cluster_id: "other".into(), certificate, key, ..good.clone() };
    let why = refusal(start(other_cluster).await);
    assert!(why.ends_with("belongs to cluster \"test\", this replica is configured for \"other\""), "{why}");
    let (certificate, key) = cluster.ca.sign("plain", "localhost");
    let nameless = NodeConfig { certificate, key, ..good.clone() };
    let why = refusal(start(nameless).await);
    assert!(why.contains("no DNS name of the form node-ID.CLUSTER_ID.kontiki"), "{why}");
    let why = refusal(start(NodeConfig { cluster_id: "No.Label".into(), ..good }).await);
    assert_eq!(why, "cluster id \"No.Label\" is not a DNS label");
}

/// A replica with a certificate of another CA, or of another cluster of the same CA, is not heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_with_other_certificates_are_refused() {
    let mut cluster = Cluster::start(1).await;
    let member = cluster.member(1, true);
    let strangers = tempfile::tempdir().expect("a directory");
    let other_ca = TestCa::new(strangers.path());
    let (their_certificate, their_key) = other_ca.sign("node-2", "node-2.test.kontiki");
    let (other_certificate, other_key) = cluster.ca.sign("elsewhere", "node-2.elsewhere.kontiki");
    let base = cluster.config(2);
    let cases = [
        NodeConfig {
            ca: cluster.ca.ca_file(),
            certificate: their_certificate,
            key: their_key,
            data_dir: strangers.path().join("a"),
            ..base.clone()
        },
        NodeConfig {
            cluster_id: "elsewhere".into(),
            certificate: other_certificate,
            key: other_key,
            data_dir: strangers.path().join("b"),
            ..base
        },
    ];
    for config in cases {
        let addr = config.peer_listen.to_string();
        let stranger = start(config).await.expect("it runs, alone");
        // It claims that our replica is in its cluster, and asks for its vote.
        let us = store_api::Member { id: 1, ..member.clone() };
        let it = store_api::Member { id: 2, peer_addr: addr, ..member.clone() };
        let formed = tokio::time::timeout(Duration::from_secs(3), stranger.initialize(vec![us, it])).await;
        assert!(!matches!(formed, Ok(Ok(()))), "{formed:?}");
        assert_eq!(stranger.status().leader, None);
        stranger.shutdown().await;
    }
    let status = cluster.store(1).status();
    assert_eq!((status.leader, status.members.len()), (Some(1), 1));
    cluster.store(1).txn(Txn::put("a", "1")).await.expect("undisturbed");
    cluster.kill(1).await;
}
