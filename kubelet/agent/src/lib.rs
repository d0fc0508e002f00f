//! The kubelet process: acts what `kubelet-core` decides.

mod agent;
mod api;
mod cgroups;
mod clock;
pub mod containerd;
mod cri_config;
mod dns;
mod events;
mod eviction;
mod follow;
mod grpc_health;
mod hollow;
mod hooks;
mod housekeeping;
pub mod images;
mod kill;
mod leftovers;
pub mod log_file;
mod logs;
mod machine;
mod mounts;
mod node_status;
mod objects;
mod observe;
mod paths;
mod pod_network;
mod probing;
mod pull_secrets;
mod relist;
mod server;
mod start;
mod stats;
mod statuses;
mod tls;
mod volumes;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;

pub use api::Servers;
pub use server::set_metrics_renderer;
use tokio_util::sync::CancellationToken;

/// One node.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub node_name: String,
    pub node_ip: IpAddr,
    /// API server, identity and CA (`system:node:NAME`). Several servers: tried in order, the first that answers is kept.
    pub kubeconfig: PathBuf,
    /// Fallback servers besides the one in the kubeconfig.
    pub servers: Servers,
    pub runtime: Runtime,
    /// Pods' volumes and state: `ROOT/pods/UID/...`
    pub root_dir: PathBuf,
    /// The kubelet's own HTTPS port (logs, exec, attach, port-forward). 0: none (hollow).
    pub port: u16,
    /// Serving certificate and key, and the CA that API servers' client certificates are checked against.
    pub serving_certificate: Option<(PathBuf, PathBuf)>,
    pub client_ca: Option<PathBuf>,
    /// Address range of the pods of this node; `None`: the control plane gives it one.
    pub pod_cidr: Option<String>,
    /// Where the runtime's pod network is configured; `None`: that is not for us to do.
    pub pod_network: Option<containerd::PodNetwork>,
    /// cgroup under which pods are placed.
    pub cgroup_root: String,
    pub labels: Vec<(String, String)>,
    pub max_pods: u32,
    /// The node says that it is not ready when it stops: its pods are about to be ended with it.
    pub stop_pods_on_exit: bool,
}

#[derive(Clone, Debug)]
pub enum Runtime {
    /// A CRI v1 socket.
    Cri { socket: PathBuf },
    /// Containers that only exist in memory; addresses from `pod_cidr`.
    Fake,
}

/// Runs one node until stopped. Its pods go on: the next run takes them over.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), AgentError> {
    agent::Node::new(config, stop).await?.run().await
}

/// Runs many nodes with fake runtimes in this process.
pub async fn run_hollow(configs: Vec<AgentConfig>, stop: CancellationToken) -> Result<(), AgentError> {
    hollow::run(configs, stop).await
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot reach the container runtime: {0}")]
    Runtime(String),
    #[error("cannot reach the API server: {0}")]
    Api(String),
    #[error("bad configuration: {0}")]
    Config(String),
}
