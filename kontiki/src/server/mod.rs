//! One control-plane replica: store, cache, registry, HTTP face, controllers, in this order.

mod access;
mod admin;
pub(crate) mod args;
pub(crate) mod audit;
pub(crate) mod certificates;
mod client_certificates;
mod cluster_info;
mod controllers;
mod crowd;
mod encryption;
mod endpoints;
mod etcd;
mod flags;
pub(crate) mod flow;
pub(crate) mod heal;
mod health;
pub(crate) mod identity;
mod join_roles;
pub(crate) mod joining;
mod kms;
pub(crate) mod members;
mod objects;
mod rbac;
pub(crate) mod setup;
mod signer;
pub(crate) mod status;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use api_auth::authz::rbac::Rbac;
use api_cache::{Cache, CacheConfig};
use api_registry::{Clock, Registry, RegistryConfig};
use store_api::{DynStore, Member};
use store_node::{Held, Placement, RaftStore};
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfiguration;
use crate::prometheus::{self, Metrics};
use crate::{Failure, raft};
pub(crate) use admin::{AGENTS, SERVERS};
use args::ServerArgs;
use crowd::Crowd;
use health::Flag;
use identity::Identity;

/// Between tries of what needs a quorum.
const RETRY: Duration = Duration::from_millis(200);
/// The issuer of service-account tokens, upstream's default.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> jiff::Timestamp {
        crate::now()
    }
}

/// `kontiki server`
pub(crate) async fn run(args: ServerArgs) -> Result<(), Failure> {
    crate::logging::init();
    // Data and keys are for this user only, whatever makes the files.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let metrics = prometheus::install()?;
    let (mut config, joining) = setup::prepare(&args).await?;
    config.etcd_listen = args.etcd_listen.or(config.etcd_listen);
    args.api.over(&mut config)?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let data_dir = config.data_dir.clone();
    serve(config, joining, metrics, stop).await?;
    match heal::is_wanted(&data_dir) {
        true => Err(heal::start_over()),
        false => Ok(()),
    }
}

/// SIGTERM and SIGINT end the process in order.
pub(crate) async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return tracing::error!("cannot listen for signals");
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}

async fn serve(
    config: ServerConfiguration,
    joining: Option<joining::Joining>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Failure> {
    // Before anything else: what is wrong with a policy is said at once.
    let auditor = audit::start(&config)?;
    let flow = config.flow_control.config()?;
    let identity = certificates::ensure(&config, crate::now())?;
    let renewed = config.clone();
    tokio::spawn(identity::keep_fresh(move |now| certificates::ensure(&renewed, now), stop.clone()));
    let listener = listen(&config).await?;
    let raft = raft::start(place(&config), &identity, &stop).await?;
    let sealed = encryption::sealed(&config, &raft, &stop).await?;
    let waiting = waiting::Waiting::new(&config, &identity, source(&config, &identity, &raft), stop.clone())?;
    let registry = tokio::select! {
        registry = become_ready(&config, joining, &raft, encryption::store(&raft, &sealed), &stop) => registry?,
        never = waiting.serve(&listener) => match never {},
    };
    let Some(registry) = registry else {
        raft.shutdown().await;
        return Ok(());
    };
    if let Some(auditor) = &auditor {
        registry.be_witnessed(Arc::new(audit::Inside(auditor.clone())));
    }
    let rbac = Arc::new(Rbac::default());
    rbac::rebuild(&registry.cache, &rbac);
    tokio::spawn(rbac::follow(registry.cache.clone(), rbac.clone(), stop.clone()));
    let bootstrapped = Flag::default();
    let first_objects = bootstrap(registry.clone(), config.clone(), bootstrapped.clone(), stop.clone());
    let own = endpoints::publishable(&config.api.advertise);
    let endpoint = endpoints::keep(registry.clone(), own, stop.clone());
    let endpoint = tokio::spawn(async { (first_objects.await, endpoint.await) });
    let deciders = access::deciders(&config, &registry, rbac, &stop)?;
    let controllers = controllers::Controllers::new(&config, &registry, &deciders.authorizer)?;
    let controllers = tokio::spawn(controllers.run(stop.clone()));
    etcd::start(&config, &identity, &raft, &stop).await?;
    let admin = admin::Admin { config: config.clone(), store: raft.clone(), sealed, stop: stop.clone() };
    let crowd = Crowd::start()?;
    let flags = flags::of(&config)?;
    let working = Working { flags, flow, crowd: crowd.handle(), audit: auditor, bootstrapped, metrics };
    let server = http_server(admin, &identity, &registry, deciders, working);
    tracing::info!(id = config.id, cluster = config.cluster_id, listen = %config.api.listen, "replica is up");
    server.serve_on(listener, stop.clone()).await?;
    stop.cancel();
    // Leaderships end by themselves when this takes too long.
    if tokio::time::timeout(Duration::from_secs(3), futures::future::join(controllers, endpoint)).await.is_err() {
        tracing::warn!("the controllers did not end in time");
    }
    raft.shutdown().await;
    Ok(())
}

async fn listen(config: &ServerConfiguration) -> Result<tokio::net::TcpListener, Failure> {
    let address = config.api.listen;
    let listener = tokio::net::TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}").into())
}

fn source(config: &ServerConfiguration, identity: &Identity, raft: &Arc<RaftStore>) -> status::Source {
    status::Source { config: Arc::new(config.clone()), identity: identity.clone(), raft: raft.clone() }
}

/// Everything that needs other replicas, patiently. `None`: stopped meanwhile.
async fn become_ready(
    config: &ServerConfiguration,
    joining: Option<joining::Joining>,
    raft: &Arc<RaftStore>,
    store: DynStore,
    stop: &CancellationToken,
) -> Result<Option<Arc<Registry>>, Failure> {
    let ready = async {
        found(config, raft).await?;
        if let Some(joining) = joining {
            joining.become_member().await?;
        }
        raft::wait_for_quorum(raft).await;
        start_registry(config, store).await
    };
    stop.run_until_cancelled(ready).await.transpose()
}

/// The replica with the lowest number makes a new cluster.
async fn found(config: &ServerConfiguration, raft: &RaftStore) -> Result<(), Failure> {
    let first = config.initial_members.iter().map(|member| member.id).min();
    if !raft.is_initialized() && first == Some(config.id) {
        raft.initialize(config.initial_members.iter().map(member).collect()).await?;
    }
    Ok(())
}

fn place(config: &ServerConfiguration) -> raft::Place<'_> {
    raft::Place {
        id: config.id,
        cluster_id: &config.cluster_id,
        data_dir: &config.data_dir,
        pki_dir: &config.pki_dir,
        peer_listen: config.peer.listen,
        history: Some(Duration::from_secs(config.history_seconds)),
        // etcd's clients do not look into the API's cache.
        held: if config.etcd_listen.is_some() { Held::ALONE } else { Held::UNDER_A_CACHE },
        placement: Placement { zone: config.zone.clone(), leader_zones: config.leader_zones.clone() },
    }
}

fn member(initial: &crate::config::InitialMember) -> Member {
    let (peer_addr, api_url) = (initial.peer.clone(), initial.api.clone());
    Member { id: initial.id, peer_addr, api_url, voter: true, ..Member::default() }
}

/// What is served, for as long as the process runs.
fn schema(config: &ServerConfiguration) -> Result<&'static api_schema::Schema, Failure> {
    static SERVED: std::sync::OnceLock<api_schema::Schema> = std::sync::OnceLock::new();
    let served = api_schema::Schema::serving(&config.runtime_config, &config.feature_gates)?;
    for warning in &served.gates().warnings {
        tracing::warn!("{warning}");
    }
    Ok(SERVED.get_or_init(|| served))
}

async fn start_registry(config: &ServerConfiguration, store: DynStore) -> Result<Arc<Registry>, Failure> {
    let window = CacheConfig { window_age: Duration::from_secs(config.history_seconds), ..CacheConfig::default() };
    let cache = Cache::start(store.clone(), window).await?;
    let tokens = pki::tokens::TokenIssuer::load_or_create(&config.pki_dir, ISSUER, vec![ISSUER.to_owned()])?;
    let registry = RegistryConfig {
        service_cidr: config.service_cidr.clone(),
        node_ports: config.node_ports.0..=config.node_ports.1,
        allow_privileged: config.allow_privileged,
        clock: Arc::new(WallClock),
        tokens: Arc::new(tokens),
    };
    let schema = schema(config)?;
    let admission = api_admission::Chain::new(&config.admission.settings()?, schema.gates())?;
    Ok(Registry::new(schema, store, cache, admission, registry))
}

/// Makes what every cluster has. Any replica may do it; what is there already stays.
async fn bootstrap(registry: Arc<Registry>, config: ServerConfiguration, done: Flag, stop: CancellationToken) {
    loop {
        let tried = async {
            registry.bootstrap().await?;
            join_roles::ensure(&registry).await?;
            cluster_info::ensure(&registry, &config).await
        };
        match stop.run_until_cancelled(tried).await {
            None => return,
            Some(Ok(())) => return done.set(),
            Some(Err(error)) => tracing::warn!(%error, "cannot make the cluster's first objects yet"),
        }
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

/// What works beside the registry in the HTTP face.
struct Working {
    flags: Vec<(String, String)>,
    flow: api_http::FlowConfig,
    crowd: tokio::runtime::Handle,
    audit: Option<Arc<api_audit::Auditor>>,
    bootstrapped: Flag,
    metrics: Metrics,
}

fn http_server(
    admin: admin::Admin,
    identity: &Identity,
    registry: &Arc<Registry>,
    deciders: access::Deciders,
    working: Working,
) -> api_http::Server {
    let Working { flags, flow, crowd, audit, bootstrapped, metrics } = working;
    let config = &admin.config;
    let store: DynStore = admin.store.clone();
    let status = source(config, identity, &admin.store);
    api_http::Server {
        config: api_http::ServerConfig {
            listen: config.api.listen,
            certificate: identity.certificate(identity::SERVER),
            key: identity.key(identity::SERVER),
            client_ca: config.pki_dir.join("ca.crt"),
            front_proxy: deciders.front_proxy,
            kubelet_client_certificate: identity.certificate(identity::KUBELET_CLIENT),
            kubelet_client_key: identity.key(identity::KUBELET_CLIENT),
            kubelet_ca: config.pki_dir.join("ca.crt"),
            advertise_url: format!("https://{}", config.api.advertise),
            flags,
        },
        registry: registry.clone(),
        authenticator: deciders.authenticator,
        authorizer: deciders.authorizer,
        audit,
        flow,
        crowd,
        ready_checks: health::ready(&registry.cache, &store, &bootstrapped),
        live_checks: health::live(&registry.cache),
        metrics: Arc::new(move || metrics.render()),
        status: Arc::new(move || status.json()),
        admin: Some(Arc::new(admin)),
    }
}
