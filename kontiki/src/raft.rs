//! What `kontiki server` and `kontiki store serve` do alike with the store of their replica.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store_node::{Held, NodeConfig, Placement, RaftStore};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::server::identity::{self, Identity};

/// How long a start waits for a quorum before it says what is missing, and waits on.
const QUORUM_PATIENCE: Duration = Duration::from_secs(10);

/// What their configurations say of it.
pub(crate) struct Place<'a> {
    pub(crate) id: u64,
    pub(crate) cluster_id: &'a str,
    pub(crate) data_dir: &'a Path,
    pub(crate) pki_dir: &'a Path,
    pub(crate) peer_listen: SocketAddr,
    /// `None`: only clients compact.
    pub(crate) history: Option<Duration>,
    pub(crate) held: Held,
    pub(crate) placement: Placement,
}

/// Starts the store; one that was removed from its cluster, or cannot go on, takes the process along.
pub(crate) async fn start(
    place: Place<'_>,
    identity: &Identity,
    stop: &CancellationToken,
) -> Result<Arc<RaftStore>, Failure> {
    let raft = RaftStore::start(config(place, identity)).await?;
    let (ended, stop) = (raft.clone(), stop.clone());
    tokio::spawn(async move {
        ended.stopped().await;
        stop.cancel();
    });
    Ok(raft)
}

fn config(place: Place<'_>, identity: &Identity) -> NodeConfig {
    NodeConfig {
        id: place.id,
        cluster_id: place.cluster_id.to_owned(),
        data_dir: place.data_dir.join("store"),
        peer_listen: place.peer_listen,
        ca: place.pki_dir.join("peer-ca.crt"),
        certificate: identity.certificate(identity::PEER),
        key: identity.key(identity::PEER),
        heartbeat: NodeConfig::HEARTBEAT,
        election_timeout: NodeConfig::ELECTION_TIMEOUT,
        history: place.history,
        history_bytes: NodeConfig::HISTORY_BYTES,
        snapshot_entries: NodeConfig::SNAPSHOT_ENTRIES,
        log_bytes: NodeConfig::LOG_BYTES,
        reserve_bytes: NodeConfig::RESERVE_BYTES,
        held: place.held,
        placement: place.placement,
    }
}

/// Patiently, and with a word from time to time.
pub(crate) async fn wait_for_quorum(raft: &RaftStore) {
    while let Err(error) = raft.wait_ready(QUORUM_PATIENCE).await {
        tracing::warn!(%error, "waiting for a quorum of replicas: are the others running and reachable?");
    }
}
