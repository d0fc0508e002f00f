//! `kontiki store serve`: one replica of a stand-alone store.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use store_api::Member;
use store_etcd::{EtcdConfig, EtcdServer};
use store_node::{Held, Placement, RaftStore};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admin::{self, Admin};
use super::config::StoreConfiguration;
use super::setup;
use crate::server::identity::{self, Identity};
use crate::server::joining::Joining;
use crate::server::status::Source;
use crate::server::{certificates, heal};
use crate::{Failure, raft};

/// Between tries to be made a member.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// Run one replica
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki store serve --init --advertise 10.0.0.1
  kontiki store serve --join https://10.0.0.1:2379 --kubeconfig admin.kubeconfig --advertise 10.0.0.2
  kontiki store serve --join https://10.0.0.1:2379 --kubeconfig admin.kubeconfig --advertise 10.0.0.4 --replace 3
  kontiki store serve --config DIR/replica-1/store.yaml

--init writes DATA_DIR/admin.kubeconfig for admins' commands, and DATA_DIR/ca.crt, client.crt and client.key for etcd's
clients. It stays in the foreground. Run again on the same --data-dir it continues with the data; a join that was
interrupted goes on.")]
pub(crate) struct ServeArgs {
    /// Configuration file (kind: StoreConfiguration); made by --init, --join and kontiki store up
    #[arg(long)]
    pub(super) config: Option<PathBuf>,
    /// Where data, keys and configuration are kept
    #[arg(long, default_value = "/var/lib/kontiki")]
    pub(super) data_dir: PathBuf,
    /// Make a new store with this replica as its first
    #[arg(long, conflicts_with_all = ["join", "config"])]
    pub(super) init: bool,
    /// Join the store of this replica (https://HOST:PORT, where etcd's clients connect)
    #[arg(long, value_name = "URL", conflicts_with = "config", requires = "kubeconfig")]
    pub(super) join: Option<String>,
    /// With --join: an admin's credentials
    #[arg(long, env = "KUBECONFIG")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// With --join: keep a copy and serve from it, without a vote (kontiki member promote gives it one)
    #[arg(long, requires = "join", conflicts_with = "replace")]
    pub(super) learner: bool,
    /// With --join: take the place of this member, which is dead and removed in the same step
    #[arg(long, value_name = "ID", requires = "join")]
    pub(super) replace: Option<u64>,
    /// Address others reach this machine by; needed with --init and --join
    #[arg(long, value_name = "IP")]
    pub(super) advertise: Option<IpAddr>,
    /// Port of etcd's clients
    #[arg(long, default_value_t = super::CLIENT_PORT)]
    pub(super) client_port: u16,
    /// Port the replicas speak to each other on
    #[arg(long, default_value_t = super::PEER_PORT)]
    pub(super) peer_port: u16,
    /// Where this replica is (a data centre, a rack)
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Zones whose replicas should lead, best first; the same on all replicas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    leader_zones: Vec<String>,
}

impl ServeArgs {
    /// What is said here goes before what the configuration says.
    pub(super) fn placement(&self, config: &mut StoreConfiguration) {
        config.zone = self.zone.clone().unwrap_or_else(|| config.zone.clone());
        if !self.leader_zones.is_empty() {
            config.leader_zones = self.leader_zones.clone();
        }
    }
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    crate::logging::init();
    // Data and keys are for this user only, whatever makes the files.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let (config, joining) = setup::prepare(&args).await?;
    let stop = CancellationToken::new();
    tokio::spawn(crate::server::stop_on_signal(stop.clone()));
    let identity = certificates::ensure(&config, crate::now())?;
    let renewed = config.clone();
    tokio::spawn(identity::keep_fresh(move |now| certificates::ensure(&renewed, now), stop.clone()));
    let raft = raft::start(place(&config), &identity, &stop).await?;
    let result = serve(&config, &identity, joining, &raft, &stop).await;
    stop.cancel();
    raft.shutdown().await;
    result?;
    match heal::is_wanted(&config.data_dir) {
        true => Err(heal::start_over()),
        false => Ok(()),
    }
}

/// The port is taken and served at once: a replica without quorum still answers what it can.
async fn serve(
    config: &StoreConfiguration,
    identity: &Identity,
    joining: Option<Joining>,
    raft: &Arc<RaftStore>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (visitors, come) = mpsc::channel(admin::QUEUE);
    let server = EtcdServer::bind(etcd_config(config, identity)).await?.with_visitors(visitors)?;
    let source = Source { config: Arc::new(config.clone()), identity: identity.clone(), raft: raft.clone() };
    let _admins = tokio::spawn(admin::serve(Admin { source, stop: stop.clone() }, come));
    let ready = {
        let (config, raft, stop) = (config.clone(), raft.clone(), stop.clone());
        tokio::spawn(
            async move { stop.run_until_cancelled(become_ready(&config, joining, &raft)).await.unwrap_or(Ok(())) },
        )
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
async fn become_ready(config: &StoreConfiguration, joining: Option<Joining>, raft: &RaftStore) -> Result<(), Failure> {
    let first = config.initial_members.iter().map(|member| member.id).min();
    if !raft.is_initialized() && first == Some(config.id) {
        raft.initialize(founders(config)).await?;
    }
    match joining {
        Some(joining) => joining.become_member().await?,
        // With an id from `etcdctl member add`.
        None if first.is_some() && !config.is_founder() => join(config, raft).await,
        None => {}
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

fn place(config: &StoreConfiguration) -> raft::Place<'_> {
    raft::Place {
        id: config.id,
        cluster_id: &config.cluster_id,
        data_dir: &config.data_dir,
        pki_dir: &config.pki_dir,
        peer_listen: config.peer.listen,
        history: config.history_seconds.map(Duration::from_secs),
        held: Held::ALONE,
        placement: Placement { zone: config.zone.clone(), leader_zones: config.leader_zones.clone() },
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
