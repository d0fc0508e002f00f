//! openraft glue: one replica of the store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store_api::{Member, NodeId, StoreError};

/// How one replica is started.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub id: NodeId,
    /// All members of one cluster share it; peers of another are refused.
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
    /// History kept for reads and watches before it is compacted.
    pub history: Duration,
    /// Log entries after which a snapshot is taken.
    pub snapshot_entries: u64,
}

/// A running replica; implements [`store_api::Store`].
pub struct RaftStore {
    _private: (),
}

impl RaftStore {
    /// Opens the data directory and joins the conversation of the peers it knows. A fresh replica
    /// waits until [`Self::initialize`] or until a leader adds it.
    pub async fn start(_config: NodeConfig) -> Result<Arc<Self>, StoreError> {
        todo!()
    }
    /// Whether this data directory belongs to a cluster already.
    pub fn is_initialized(&self) -> bool {
        todo!()
    }
    /// Makes a new cluster of these members (each of them started and empty). Done once, on one of them.
    pub async fn initialize(&self, _members: Vec<Member>) -> Result<(), StoreError> {
        todo!()
    }
    /// Adds a replica as learner, waits until it has caught up, makes it a voter when asked. Runs on any replica.
    pub async fn add_member(&self, _member: Member, _voter: bool) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn remove_member(&self, _id: NodeId) -> Result<(), StoreError> {
        todo!()
    }
    /// A node id that was never used in this cluster (from the log).
    pub async fn allocate_node_id(&self) -> Result<NodeId, StoreError> {
        todo!()
    }
    /// Waits until a leader is known and this replica has caught up with it.
    pub async fn wait_ready(&self, _timeout: Duration) -> Result<(), StoreError> {
        todo!()
    }
    /// Hands leadership over when this replica has it, then stops.
    pub async fn shutdown(&self) {
        todo!()
    }
}
