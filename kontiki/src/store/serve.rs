//! `kontiki store serve`: one replica of a stand-alone store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store_api::Member;
use store_etcd::{EtcdConfig, EtcdServer};
use store_node::{Held, Placement, RaftStore};
use tokio_util::sync::CancellationToken;

use super::config::StoreConfiguration;
use crate::server::identity::{self, Authorities, Ca, Identity};
use crate::{Failure, raft};

/// Between tries to be made a member.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(file: &Path) -> Result<(), Failure> {
    crate::logging::init();
    // Data and keys are for this user only, whatever makes the files.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let config = StoreConfiguration::read(file)?;
    let stop = CancellationToken::new();
    tokio::spawn(crate::server::stop_on_signal(stop.clone()));
    let identity = ensure(&config, crate::now())?;
    let renewed = config.clone();
    tokio::spawn(identity::keep_fresh(move |now| ensure(&renewed, now), stop.clone()));
    let raft = raft::start(place(&config), &identity, &stop).await?;
    let result = serve(&config, &identity, &raft, &stop).await;
    stop.cancel();
    raft.shutdown().await;
    result
}

/// The port is taken and served at once: a replica without quorum still answers what it can.
async fn serve(
    config: &StoreConfiguration,
    identity: &Identity,
    raft: &Arc<RaftStore>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let server = EtcdServer::bind(etcd_config(config, identity)).await?;
    let ready = {
        let (config, raft, stop) = (config.clone(), raft.clone(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(become_ready(&config, &raft)).await.unwrap_or(Ok(())) })
    };
    let serving = server.serve(raft.clone(), raft.clone(), stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(()),
        ready = ready => ready??,
    }
    serving.await;
    Ok(())
}

/// Everything that needs other replicas, patiently.
async fn become_ready(config: &StoreConfiguration, raft: &RaftStore) -> Result<(), Failure> {
    let first = config.initial_members.iter().map(|member| member.id).min();
    if !raft.is_initialized() && first == Some(config.id) {
        raft.initialize(founders(config)).await?;
    }
    if !config.is_founder() {
        join(config, raft).await;
    }
    raft::wait_for_quorum(raft).await;
    raft.announce(&config.name, &[config.client_url()]).await;
    tracing::info!(id = config.id, cluster = config.cluster_id, listen = %config.client.listen, "replica is ready");
    Ok(())
}

fn founders(config: &StoreConfiguration) -> Vec<Member> {
    let member = |member: &super::config::StoreMember| Member {
        id: member.id,
        peer_addr: member.peer.clone(),
        voter: true,
        ..Member::default()
    };
    config.initial_members.iter().map(member).collect()
}

/// Asks the members that are known, until one of them has had this replica made a member.
async fn join(config: &StoreConfiguration, raft: &RaftStore) {
    let known: Vec<(u64, String)> =
        config.initial_members.iter().map(|member| (member.id, member.peer.clone())).collect();
    let me = Member { id: config.id, peer_addr: config.peer.advertise.clone(), ..Member::default() };
    while let Err(error) = raft.join(&known, me.clone(), !config.learner).await {
        tracing::warn!(%error, "not a member yet; asking again");
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

fn ensure(config: &StoreConfiguration, now: jiff::Timestamp) -> Result<Identity, Failure> {
    let authorities = Authorities::load_or_create(&config.pki_dir, now)?;
    let leaves = vec![
        identity::peer(config.id, &config.cluster_id),
        identity::etcd_server(Ca::Cluster, config.client.listen.ip(), &config.client.advertise),
    ];
    Identity::issue(config.data_dir.join("certificates"), &authorities, leaves, now)
}

fn place(config: &StoreConfiguration) -> raft::Place<'_> {
    raft::Place {
        id: config.id,
        cluster_id: &config.cluster_id,
        data_dir: &config.data_dir,
        pki_dir: &config.pki_dir,
        peer_listen: config.peer.listen,
        history: config.history_seconds.map(Duration::from_secs),
        held: Held::ALONE,
        placement: Placement::default(),
    }
}

fn etcd_config(config: &StoreConfiguration, identity: &Identity) -> EtcdConfig {
    EtcdConfig {
        listen: config.client.listen,
        ca: config.pki_dir.join("ca.crt"),
        certificate: identity.certificate(identity::ETCD),
        key: identity.key(identity::ETCD),
        progress_interval: config.watch_progress_seconds.map_or(EtcdConfig::PROGRESS_INTERVAL, Duration::from_secs),
        min_lease_ttl: EtcdConfig::MIN_LEASE_TTL,
    }
}
