//! New clusters with the data of old ones: from a copy, and from a survivor.

use std::path::Path;
use std::sync::Arc;

use store_api::{Admin, ReadAt, Store, StoreError, Txn, WatchRequest};
use store_node::anew::{self, Anew};
use store_node::test_support::{Cluster, PATIENCE, TestCa};
use store_node::{NodeConfig, RaftStore};

use crate::support::{get, put};

const JUMP: u64 = 1_000_000;

/// A replica of a cluster "new", which is not the test cluster's.
struct Fresh {
    dir: tempfile::TempDir,
    ca: TestCa,
    port: std::net::SocketAddr,
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = TestCa::new(&dir.path().join("tls"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound");
        Self { dir, ca, port }
    }

    fn anew(&self) -> Anew {
        Anew {
            data_dir: self.dir.path().join("store"),
            cluster_id: "new".into(),
            peer_addr: self.port.to_string(),
            api_url: "https://new:6443".into(),
            jump: JUMP,
        }
    }

    async fn start(&self, template: NodeConfig, id: u64, port: std::net::SocketAddr, dir: &str) -> Arc<RaftStore> {
        let (certificate, key) = self.ca.sign(&format!("new-{id}"), &format!("node-{id}.new.kontiki"));
        let store = RaftStore::start(NodeConfig {
            id,
            cluster_id: "new".into(),
            data_dir: self.dir.path().join(dir),
            peer_listen: port,
            ca: self.ca.ca_file(),
            certificate,
            key,
            ..template
        });
        store.await.expect("started")
    }
}

/// The restored replica leads a cluster of its own, and one that joins gets the same state.
async fn check_new_cluster(fresh: &Fresh, template: NodeConfig, begun: &anew::Begun, newest: u64) {
    assert_eq!(begun.newest, newest);
    assert_eq!(begun.revision, newest + JUMP);
    let store = fresh.start(template.clone(), begun.id, fresh.port, "store").await;
    store.wait_ready(PATIENCE).await.expect("it leads");
    let status = store.status();
    let members: Vec<(u64, &str)> = status.members.iter().map(|one| (one.id, one.api_url.as_str())).collect();
    assert_eq!(members, [(begun.id, "https://new:6443")]);
    assert_eq!(get(&store, "k3", ReadAt::Linearizable).await, Ok(Some("3".into())));
    // Whoever watched the old cluster, at any revision it can have had, must list anew.
    for from in [newest - 1, newest, newest + 1, newest + JUMP - 1] {
        let request = WatchRequest { start: "k".into(), end: "l".into(), from };
        let refused = match store.watch(request).await {
            Ok(mut watch) => watch.next().await.err(),
            Err(error) => Some(error),
        };
        assert!(matches!(refused, Some(StoreError::Compacted { .. })), "from {from}: {refused:?}");
    }
    assert_eq!(store.txn(Txn::put("k3", "new")).await.expect("written").revision, begun.revision + 1);

    let id = store.allocate_node_id().await.expect("an id");
    assert!(id > begun.id);
    let other = Fresh::new();
    let second = fresh.start(template, id, other.port, "second").await;
    let member = store_api::Member { id, peer_addr: other.port.to_string(), voter: true, ..Default::default() };
    store.add_member(member, true).await.expect("added");
    second.wait_ready(PATIENCE).await.expect("caught up");
    assert_eq!(get(&second, "k3", ReadAt::Linearizable).await, Ok(Some("new".into())));
    assert_eq!(get(&second, "k4", ReadAt::Linearizable).await, Ok(Some("4".into())));
    let hash = |store: &Arc<RaftStore>| store.status().state_hash;
    assert_eq!(hash(&store), hash(&second));
    // They compare what they have every other second.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!((store.health(), store.doubt(), second.health(), second.doubt()), (Ok(()), None, Ok(()), None));
    second.shutdown().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_becomes_a_cluster() {
    let cluster = Cluster::start(3).await;
    let store = cluster.store(1);
    for n in 0..10 {
        put(&store, &format!("k{n}"), &n.to_string()).await;
    }
    let copy = store.snapshot().await.expect("a copy");
    put(&store, "k3", "too late").await;
    let fresh = Fresh::new();
    let begun = anew::restore(&copy.path, &fresh.anew(), "disk".into()).expect("restored");
    assert!(begun.id > 3, "an id the old cluster never gave out");
    let again = anew::restore(&copy.path, &fresh.anew(), "disk".into());
    assert!(matches!(&again, Err(StoreError::Invalid(why)) if why.contains("is there already")), "{again:?}");
    check_new_cluster(&fresh, cluster.config(1), &begun, copy.revision).await;
}

#[test]
fn a_damaged_copy_leaves_nothing() {
    let fresh = Fresh::new();
    let file = fresh.dir.path().join("copy");
    std::fs::write(&file, "kontiki-snap and nothing else").expect("written");
    assert!(matches!(anew::restore(&file, &fresh.anew(), "disk".into()), Err(StoreError::Invalid(_))));
    let left: Vec<_> =
        std::fs::read_dir(fresh.dir.path()).expect("listed").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left.len(), 2, "the copy and the keys: {left:?}");
}

/// Two of three are lost. What the third has in its log counts, whether it knew that a quorum had it or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_becomes_a_cluster() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..10 {
        put(&cluster.store(1), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    let survivor = cluster.follower().await;
    let newest = cluster.store(survivor).status();
    let running = anew::inspect(cluster.data_dir(survivor));
    assert!(matches!(&running, Err(StoreError::Invalid(why)) if why.contains("stop it first")), "{running:?}");
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    let dir = cluster.data_dir(survivor).to_owned();
    let found = inspect(&dir);
    assert_eq!((found.id, found.cluster_id.as_str(), found.revision), (survivor, "test", newest.revision));
    assert!(found.last.1 >= newest.applied_index && found.last.1 >= found.committed, "{found:?}");
    assert_eq!(found.members.iter().filter(|(_, _, voter)| *voter).count(), 3);
    assert!(found.last_write.is_some());

    let fresh = Fresh::new();
    let begun = anew::recover(&dir, &fresh.anew(), "disk".into()).expect("recovered");
    assert!(begun.id > 3);
    check_new_cluster(&fresh, cluster.config(1), &begun, newest.revision).await;
    // The survivor itself is as it was: the old cluster could still go on.
    for id in cluster.ids() {
        cluster.restart(id).await;
    }
    cluster.store(survivor).wait_ready(PATIENCE).await.expect("ready");
    assert_eq!(get(&cluster.store(survivor), "k3", ReadAt::Linearizable).await, Ok(Some("3".into())));
    cluster.converge().await;
}

/// The databases close a moment after their last owner has gone.
fn inspect(dir: &Path) -> anew::Survivor {
    crate::support::patiently(|| anew::inspect(dir))
}
