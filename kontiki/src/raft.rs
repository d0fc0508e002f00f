//! What `kontiki server` and `kontiki store serve` do alike with the store of their replica.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store_api::StoreError;
use store_node::{Held, NodeConfig, Placement, RaftStore};
use tokio_util::sync::CancellationToken;

use crate::server::identity::{self, Identity};
use crate::{Failure, known};

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
    let data_dir = place.data_dir.to_owned();
    let raft = RaftStore::start(config(place, identity)).await.map_err(|error| cannot_start(error, &data_dir))?;
    tokio::spawn(known::keep(raft.clone(), data_dir, stop.clone()));
    let (ended, stop) = (raft.clone(), stop.clone());
    tokio::spawn(async move {
        ended.stopped().await;
        stop.cancel();
    });
    Ok(raft)
}

/// What an operator can do about it.
fn cannot_start(error: StoreError, data_dir: &Path) -> Failure {
    match error {
        StoreError::Fatal(why) => format!(
            "the data of this replica is damaged, it does not start: {why}. To have it copy that of the other replicas: \
             kontiki member heal --data-dir {}",
            data_dir.display()
        )
        .into(),
        StoreError::Invalid(why) => why.into(),
        other => other.into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_damaged_data_it_says_how_it_is_healed() {
        let said = |error: StoreError| cannot_start(error, Path::new("/srv/k")).to_string();
        let damaged = said(StoreError::Fatal("a block is damaged".into()));
        assert!(
            damaged.contains("a block is damaged") && damaged.ends_with("member heal --data-dir /srv/k"),
            "{damaged}"
        );
        assert_eq!(said(StoreError::Invalid("stop it first".into())), "stop it first");
        assert_eq!(said(StoreError::NoSpace("full".into())), "no space left: full");
    }
}
