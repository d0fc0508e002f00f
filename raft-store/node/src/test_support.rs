//! Clusters in one process: real disks, real TLS, links that can be cut. For tests, here and above.
//!
//! Needs a multi-threaded tokio runtime.

mod links;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use openraft::EntryPayload;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store_api::{Member, NodeId, Store, StoreError};
use store_engine::RaftLog;
use tempfile::TempDir;

use crate::types::{MemberNode, Membership};
use crate::{Held, NodeConfig, Placement, RaftStore};

pub use links::{LinkedDial, Links};
pub use raw::Raw;

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a test cluster differs from the defaults.
#[derive(Clone, Debug)]
pub struct Options {
    pub heartbeat: Duration,
    pub election_timeout: Range<Duration>,
    pub history: Duration,
    pub history_bytes: u64,
    pub snapshot_entries: u64,
    pub log_bytes: u64,
    pub reserve_bytes: u64,
    /// Replica N is in `zone-N`.
    pub leader_zones: Vec<&'static str>,
    /// Where the cluster's temporary directory is made.
    pub parent: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: NodeConfig::HEARTBEAT,
            election_timeout: NodeConfig::ELECTION_TIMEOUT,
            history: NodeConfig::HISTORY,
            history_bytes: NodeConfig::HISTORY_BYTES,
            snapshot_entries: NodeConfig::SNAPSHOT_ENTRIES,
            log_bytes: NodeConfig::LOG_BYTES,
            // However full the disk of the machine that runs the tests is.
            reserve_bytes: 0,
            leader_zones: Vec::new(),
            parent: std::env::temp_dir(),
        }
    }
}

/// A CA that signs peer certificates into files.
pub struct TestCa {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    /// Writes `ca.pem` into `dir`.
    pub fn new(dir: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::create_dir_all(dir).expect("a directory");
        std::fs::write(dir.join("ca.pem"), certificate.pem()).expect("written");
        Self { dir: dir.into(), issuer: Issuer::new(params, key) }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and key for this DNS name, as files named after `name`.
    pub fn sign(&self, name: &str, dns: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![dns.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).expect("written");
        std::fs::write(&files.1, key.serialize_pem()).expect("written");
        files
    }
}

struct Node {
    config: NodeConfig,
    store: Option<Arc<RaftStore>>,
}

/// Replicas 1..=n of one cluster, in one process, in a temporary directory.
pub struct Cluster {
    pub links: Arc<Links>,
    pub ca: TestCa,
    options: Options,
    nodes: BTreeMap<NodeId, Node>,
    dir: TempDir,
}

impl Cluster {
    /// `n` voters, ready.
    pub async fn start(n: NodeId) -> Self {
        Self::start_with(n, Options::default()).await
    }

    /// `n` voters, ready.
    pub async fn start_with(n: NodeId, options: Options) -> Self {
        let mut cluster = Self::empty(options);
        for id in 1..=n {
            cluster.add_node(id).await;
        }
        assert!((1..=n).all(|id| !cluster.store(id).is_initialized()), "a fresh replica belongs to no cluster");
        let members = (1..=n).map(|id| cluster.member(id, true)).collect();
        cluster.store(1).initialize(members).await.expect("initialized");
        for id in 1..=n {
            cluster.store(id).wait_ready(PATIENCE).await.expect("ready");
        }
        cluster
    }

    /// No replicas yet.
    pub fn empty(options: Options) -> Self {
        let dir = tempfile::tempdir_in(&options.parent).expect("a directory");
        let ca = TestCa::new(&dir.path().join("tls"));
        Self { links: Arc::default(), ca, options, nodes: BTreeMap::new(), dir }
    }

    /// Starts a fresh replica that belongs to no cluster yet.
    pub async fn add_node(&mut self, id: NodeId) {
        let config = self.config(id);
        self.nodes.insert(id, Node { config, store: None });
        self.restart(id).await;
    }

    /// A configuration for replica `id` of this cluster, with its certificate.
    pub fn config(&self, id: NodeId) -> NodeConfig {
        let (certificate, key) = self.ca.sign(&format!("node-{id}"), &format!("node-{id}.test.kontiki"));
        NodeConfig {
            id,
            cluster_id: "test".into(),
            data_dir: self.dir.path().join(format!("node-{id}")),
            peer_listen: free_port(),
            ca: self.ca.ca_file(),
            certificate,
            key,
            heartbeat: self.options.heartbeat,
            election_timeout: self.options.election_timeout.clone(),
            history: Some(self.options.history),
            history_bytes: self.options.history_bytes,
            snapshot_entries: self.options.snapshot_entries,
            log_bytes: self.options.log_bytes,
            reserve_bytes: self.options.reserve_bytes,
            held: Held::UNDER_A_CACHE,
            placement: Placement {
                zone: format!("zone-{id}"),
                leader_zones: self.options.leader_zones.iter().map(|zone| (*zone).to_owned()).collect(),
            },
        }
    }

    pub fn member(&self, id: NodeId, voter: bool) -> Member {
        let addr = self.nodes[&id].config.peer_listen;
        let api_url = format!("https://127.0.0.1:{}", 6_000 + id);
        Member { id, peer_addr: addr.to_string(), api_url, voter, ..Member::default() }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The running replica `id`.
    pub fn store(&self, id: NodeId) -> Arc<RaftStore> {
        self.nodes[&id].store.clone().expect("the replica runs")
    }

    fn running(&self) -> impl Iterator<Item = (NodeId, &Arc<RaftStore>)> {
        self.nodes.iter().filter_map(|(id, node)| Some((*id, node.store.as_ref()?)))
    }

    /// The replica a majority of the running ones calls leader, itself included; waits for one.
    pub async fn leader(&self) -> NodeId {
        let started = Instant::now();
        loop {
            let said: Vec<Option<NodeId>> = self.running().map(|(_, store)| store.status().leader).collect();
            for (id, store) in self.running() {
                let votes = said.iter().filter(|leader| **leader == Some(id)).count();
                if votes * 2 > said.len() && store.status().leader == Some(id) {
                    return id;
                }
            }
            assert!(started.elapsed() < PATIENCE, "no leader: {said:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The replica that the others of `without` call leader; waits for one.
    pub async fn leader_among_others(&self, without: NodeId) -> NodeId {
        let started = Instant::now();
        loop {
            let leads = |(id, store): (NodeId, &Arc<RaftStore>)| {
                (id != without && store.status().leader == Some(id)).then_some(id)
            };
            if let Some(leader) = self.running().find_map(leads) {
                return leader;
            }
            assert!(started.elapsed() < PATIENCE, "no leader besides {without}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A running replica that does not lead.
    pub async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        self.running().map(|(id, _)| id).find(|id| *id != leader).expect("more than one replica")
    }

    /// Ends a replica at once, as far as one process can, and waits until its disk is free.
    pub async fn kill(&mut self, id: NodeId) {
        let store = self.nodes.get_mut(&id).and_then(|node| node.store.take()).expect("the replica runs");
        store.replica.stop_now().await;
        let owned = Owned::by(&store.replica);
        drop(store);
        owned.gone().await;
    }

    /// Stops a replica in good order and waits until its disk is free.
    pub async fn shutdown(&mut self, id: NodeId) {
        self.store(id).shutdown().await;
        self.kill(id).await;
    }

    /// Starts a replica that does not run.
    pub async fn restart(&mut self, id: NodeId) {
        let store = self.try_restart(id).await.expect("started");
        self.nodes.get_mut(&id).expect("a known replica").store = Some(store);
    }

    /// Starts a replica that does not run, without keeping it.
    pub async fn try_restart(&self, id: NodeId) -> Result<Arc<RaftStore>, StoreError> {
        let node = &self.nodes[&id];
        assert!(node.store.is_none(), "the replica runs");
        RaftStore::start_with(node.config.clone(), Arc::new(LinkedDial { from: id, links: self.links.clone() })).await
    }

    /// Where a replica keeps its data.
    pub fn data_dir(&self, id: NodeId) -> &Path {
        &self.nodes[&id].config.data_dir
    }

    /// Removes the data of a replica that does not run, and what lies beside it: the machine is gone.
    pub fn wipe(&self, id: NodeId) {
        self.lose_store(id);
        std::fs::remove_file(self.data_dir(id).with_added_extension("member")).ok();
    }

    /// Removes the data directory of a replica that does not run, and nothing else.
    pub fn lose_store(&self, id: NodeId) {
        assert!(self.nodes[&id].store.is_none(), "the replica runs");
        // The databases close a moment after their last owner has gone, and may still write.
        let (started, dir) = (Instant::now(), &self.nodes[&id].config.data_dir);
        while let Err(error) = std::fs::remove_dir_all(dir) {
            assert!(started.elapsed() < PATIENCE, "cannot remove {}: {error}", dir.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Cuts a replica off from all others, both ways.
    pub fn isolate(&self, id: NodeId) {
        for other in self.ids() {
            self.links.cut(id, other);
            self.links.cut(other, id);
        }
    }

    /// Stops all that goes between a replica and the others, without ending connections.
    pub fn stall(&self, id: NodeId) {
        for other in self.ids() {
            self.links.stall(id, other);
            self.links.stall(other, id);
        }
    }

    /// Goes half-way in making `id`, a learner, a voter: the leader appends the joint membership only.
    pub async fn make_joint(&self, leader: NodeId, id: NodeId) {
        let raft = &self.store(leader).replica.raft;
        let membership = self.store(leader).replica.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let more = voters.iter().copied().chain([id]).collect();
        let nodes: BTreeMap<NodeId, MemberNode> = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        let joint = Membership::new(vec![voters, more], nodes).expect("a membership");
        raft.append_membership(joint, EntryPayload::Blank, []).await.expect("committed");
    }

    /// Whether a membership change is under way, as this replica knows it.
    pub fn is_joint(&self, id: NodeId) -> bool {
        crate::membership::is_joint(&self.store(id).replica.membership())
    }

    /// Silence of a leader that a replica bears before it stands for election.
    pub fn election_patience(&self, id: NodeId) -> Duration {
        let replica = &self.store(id).replica;
        replica.timing.patience(replica.config.election_timeout.start)
    }

    /// Changes how much of the disk a running replica keeps free.
    pub fn set_reserve(&self, id: NodeId, bytes: u64) {
        self.store(id).replica.space.set_reserve(bytes);
    }

    /// Waits until all running replicas have applied the same revision, and checks that their states are equal.
    pub async fn converge(&self) {
        let started = Instant::now();
        loop {
            let states: Vec<_> = self.running().map(|(_, store)| store.status()).collect();
            let (first, rest) = states.split_first().expect("a running replica");
            if rest.iter().all(|other| other.revision == first.revision && other.applied_index == first.applied_index) {
                assert!(rest.iter().all(|other| other.state_hash == first.state_hash), "states differ: {states:#?}");
                return;
            }
            assert!(started.elapsed() < PATIENCE, "no convergence: {states:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A replica whose disk goes away ends the process: at the end of a test they stop before their directories go.
impl Drop for Cluster {
    fn drop(&mut self) {
        let stores: Vec<_> = self.nodes.values_mut().filter_map(|node| node.store.take()).collect();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let stop = async {
            for store in stores {
                store.replica.stop_now().await;
                let owned = Owned::by(&store.replica);
                drop(store);
                // What a test still holds does not write any more.
                let _ = tokio::time::timeout(Duration::from_secs(5), owned.gone()).await;
            }
        };
        tokio::task::block_in_place(|| runtime.block_on(stop));
    }
}

/// What a stopped replica lets go of; its log last, when the thread that writes it has ended.
struct Owned {
    replica: Weak<crate::replica::Replica>,
    log: Weak<RaftLog>,
}

impl Owned {
    fn by(replica: &Arc<crate::replica::Replica>) -> Self {
        Self { replica: Arc::downgrade(replica), log: replica.log.engine() }
    }

    /// Waits until nothing in the process holds them any more.
    async fn gone(self) {
        let started = Instant::now();
        while self.replica.strong_count() + self.log.strong_count() > 0 {
            let (replica, log) = (self.replica.strong_count(), self.log.strong_count());
            assert!(started.elapsed() < PATIENCE, "{replica} owners hold the stopped replica, {log} its log");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
