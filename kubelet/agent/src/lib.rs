//! The kubelet process: acts what `kubelet-core` decides.

mod agent;
mod api;
mod cgroups;
mod clock;
pub mod containerd;
mod cri_config;
mod dns;
mod events;
mod grpc_health;
mod hollow;
mod hooks;
pub mod images;
mod kill;
mod logs;
mod machine;
mod node_status;
mod objects;
mod observe;
mod paths;
mod probing;
mod pull_secrets;
mod server;
mod start;
mod statuses;
mod tls;
mod volumes;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;

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
    pub servers: Vec<String>,
    pub runtime: Runtime,
    /// Pods' volumes and state: `ROOT/pods/UID/...`
    pub root_dir: PathBuf,
    /// The kubelet's own HTTPS port (logs, exec, attach, port-forward). 0: none (hollow).
    pub port: u16,
    /// Serving certificate and key, and the CA that API servers' client certificates are checked against.
    pub serving_certificate: Option<(PathBuf, PathBuf)>,
    pub client_ca: Option<PathBuf>,
    /// Address range of the pods of this node.
    pub pod_cidr: String,
    /// cgroup under which pods are placed.
    pub cgroup_root: String,
    pub labels: Vec<(String, String)>,
    pub max_pods: u32,
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
