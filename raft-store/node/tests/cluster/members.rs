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
    cluster.store(gone).remove_member(gone).await.ok();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_be_removed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.store(cluster.follower().await);
    other.remove_member(leader).await.expect("removed");
    let started = Instant::now();
    while cluster.store(leader).get(b"a", ReadAt::Local).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "the removed leader still answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.kill(leader).await;
    other.txn(Txn::put("a", "1")).await.expect("two of two");
    assert_eq!(other.status().members.len(), 2);
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
