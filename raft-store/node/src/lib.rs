//! openraft glue: one replica of the store.
//!
//! A write enters at any replica ([`propose`]), is forwarded to the leader when that is another
//! ([`forward`]), waits for company ([`gate`]), gets into the log ([`log_store`]) of a quorum ([`peer`]), is applied in groups
//! ([`state_machine`]), is published to watchers ([`watch`]) and answered. A linearizable read asks for
//! a read index ([`read_index`]), waits until it is applied ([`applied`]) and reads here.
//!
//! Who has a voice: a member is a node id with the data directory it came with ([`membership`],
//! [`witness`]), and every call is judged by both ([`peer`]). What a replica notices of itself: contact
//! with the others ([`contact`]), room on its disk ([`space`]), a state that differs ([`exchange`]).

mod admin;
pub mod anew;
mod answers;
mod applied;
mod background;
mod blocking;
pub mod codec;
mod contact;
mod describe;
mod errors;
mod exchange;
mod fence;
mod forward;
mod gate;
mod history;
mod identity;
mod inspect;
mod join;
mod leadership;
mod lease;
mod lease_info;
mod log_store;
mod membership;
mod membership_update;
mod observed;
mod peer;
mod placement;
mod propose;
mod read_index;
mod replica;
mod runtime;
mod scrub;
mod snapshot;
mod space;
mod start;
mod state_machine;
mod store;
#[cfg(test)]
mod suite_test;
mod tally;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
mod timing;
mod tls;
mod types;
mod watch;
mod witness;
pub mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use inspect::{Inspection, Place, Promise};
pub use peer::{Dial, PeerIo, TcpDial};
pub use placement::Placement;
use store_api::{Member, NodeId, StoreError};
use store_engine::StateMachine;
use tokio::time::Instant;

/// How one replica is started.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub id: NodeId,
    /// All members of one cluster share it; peers of another are refused. A DNS label.
    pub cluster_id: String,
    pub data_dir: PathBuf,
    pub peer_listen: SocketAddr,
    /// PEM files: the peer CA, and this replica's certificate and key signed by it.
    /// The certificate's DNS name is `node-ID.CLUSTER_ID.kontiki`.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub heartbeat: Duration,
    pub election_timeout: std::ops::Range<Duration>,
    /// History kept for reads and watches before it is compacted; `None` leaves compaction to clients.
    pub history: Option<Duration>,
    /// The same in bytes of keys and values.
    pub history_bytes: u64,
    /// Log entries after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// Bytes of log entries after which a snapshot is taken, and about as many are kept besides.
    pub log_bytes: u64,
    /// Bytes of the disk that are kept free: beyond them, writes that grow the store are refused.
    pub reserve_bytes: u64,
    pub held: Held,
    /// Where this replica is, and where leadership should be.
    pub placement: Placement,
}

/// Bytes of what is on disk that a replica holds in memory as well, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Blocks of the state. Every write reads the version before it.
    pub blocks: usize,
    /// The newest events. Watchers that are further behind read the disk.
    pub events: usize,
    /// The newest entries of the raft log. Replicas that are further behind are sent what is read from the disk.
    pub entries: usize,
}

impl Held {
    /// For clients that come from everywhere and ask for everything.
    pub const ALONE: Self = Self { blocks: StateMachine::BLOCK_CACHE_BYTES, events: 32 << 20, entries: 16 << 20 };
    /// For one client that holds all objects and its own history of them, and follows closely: an API server.
    pub const UNDER_A_CACHE: Self = Self { blocks: 32 << 20, events: 8 << 20, entries: 8 << 20 };
}

impl NodeConfig {
    /// The heartbeat that lets another replica answer within about 1.5 s after a leader died.
    pub const HEARTBEAT: Duration = Duration::from_millis(100);
    /// The election timeout that goes with it.
    pub const ELECTION_TIMEOUT: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_millis(1_000);
    /// History kept unless configured otherwise: what Kubernetes keeps in etcd.
    pub const HISTORY: Duration = Duration::from_secs(300);
    /// Bytes of history kept unless configured otherwise.
    pub const HISTORY_BYTES: u64 = 2 << 30;
    /// Bytes of log between snapshots unless configured otherwise.
    pub const LOG_BYTES: u64 = 256 << 20;
    /// Entries between snapshots unless configured otherwise.
    pub const SNAPSHOT_ENTRIES: u64 = 50_000;
    /// Kept free unless configured otherwise: enough for compaction to go on with.
    pub const RESERVE_BYTES: u64 = 256 << 20;
}

/// A running replica; implements [`store_api::Store`].
pub struct RaftStore {
    replica: Arc<replica::Replica>,
}

impl RaftStore {
    /// Opens the data directory and joins the conversation of the peers it knows. A fresh replica
    /// waits until [`Self::initialize`] or until a leader adds it.
    ///
    /// # Errors
    /// `Invalid` for a configuration, certificate or data directory that is not this replica's;
    /// `Fatal` for a disk that cannot be used.
    pub async fn start(config: NodeConfig) -> Result<Arc<Self>, StoreError> {
        Self::start_with(config, Arc::new(TcpDial)).await
    }

    /// [`Self::start`], with another way to reach peers.
    pub async fn start_with(config: NodeConfig, dial: Arc<dyn Dial>) -> Result<Arc<Self>, StoreError> {
        start::check(&config)?;
        let world = world::RealWorld::open(&config, dial)?;
        Self::start_in(config, world).await
    }

    /// [`Self::start`], in another world than the real one. Certificates and the address to listen on are its affair.
    pub async fn start_in(config: NodeConfig, world: Arc<dyn world::World>) -> Result<Arc<Self>, StoreError> {
        start::check(&config)?;
        Ok(Arc::new(Self { replica: start::start(config, world).await? }))
    }

    /// Whether this data directory belongs to a cluster already.
    pub fn is_initialized(&self) -> bool {
        !self.replica.log.is_pristine() || self.replica.effects.applied.index() > 0
    }

    /// Makes a new cluster of these members. Done once, on one of them. Waits about a minute for the others to
    /// answer, and refuses when one of them is a member of a cluster already.
    pub async fn initialize(&self, members: Vec<Member>) -> Result<(), StoreError> {
        self.replica.initialize(members).await
    }

    /// Adds a replica, whose id came from [`Self::allocate_node_id`], as learner, waits until it has caught up, makes it a voter when asked. Runs on any replica.
    pub async fn add_member(&self, member: Member, voter: bool) -> Result<(), StoreError> {
        self.replica.change(membership::Change::Add { member, voter, replaces: None }).await
    }

    /// [`Self::add_member`] as a voter, in the place of a member that does not answer any more. That one is removed
    /// in the same change. `Invalid` when it answers.
    pub async fn replace_member(&self, member: Member, dead: NodeId) -> Result<(), StoreError> {
        self.replica.change(membership::Change::Add { member, voter: true, replaces: Some(dead) }).await
    }

    /// Asks members of the cluster, by id and peer address, to make this replica one. Its id came from
    /// [`Self::allocate_node_id`].
    pub async fn join(&self, known: &[(NodeId, String)], me: Member, voter: bool) -> Result<(), StoreError> {
        self.replica.join(known, me, voter).await
    }

    /// Removes a replica, which then stops. Runs on any replica.
    /// Refused when too few of the voters that would be left answer, unless it is forced.
    pub async fn remove_member(&self, id: NodeId, force: bool) -> Result<(), StoreError> {
        self.replica.change(membership::Change::Remove { id, force }).await
    }

    /// A node id that was never used in this cluster (from the log).
    pub async fn allocate_node_id(&self) -> Result<NodeId, StoreError> {
        self.replica.allocate_node_id().await
    }

    /// Waits until a leader is known and this replica has caught up with it.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + timeout;
        loop {
            match tokio::time::timeout_at(deadline, self.replica.read_barrier()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error @ StoreError::Fatal(_))) => return Err(error),
                Ok(Err(error)) if Instant::now() >= deadline => return Err(error),
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => return Err(StoreError::Unavailable("no leader confirmed this replica in time".into())),
            }
        }
    }

    /// What should be looked at, though this replica serves: its state and that of another differ, or its disk is
    /// damaged and nobody else has the data.
    pub fn doubt(&self) -> Option<String> {
        self.replica.doubt.lock().clone()
    }

    /// Term and index of the last entry of this replica's log.
    pub fn last_log(&self) -> (u64, u64) {
        self.replica.log.last().map_or((0, 0), |id| (id.committed_leader_id().term, id.index()))
    }

    /// Waits until this replica has stopped, by itself (it was removed) or because it was told to.
    pub async fn stopped(&self) {
        self.replica.stop.cancelled().await;
    }

    /// Hands leadership over when this replica has it, then stops.
    pub async fn shutdown(&self) {
        self.replica.hand_over().await;
        self.replica.stop_now().await;
    }
}
