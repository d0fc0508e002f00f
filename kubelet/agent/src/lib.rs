//! The kubelet process: acts what `kubelet-core` decides.

mod api;
pub mod containerd;
pub mod images;

use std::net::IpAddr;
use std::path::PathBuf;

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

/// Runs one node until stopped.
pub async fn run(_config: AgentConfig, _stop: CancellationToken) -> Result<(), AgentError> {
    todo!()
}

/// Runs many nodes with fake runtimes in this process.
pub async fn run_hollow(_configs: Vec<AgentConfig>, _stop: CancellationToken) -> Result<(), AgentError> {
    todo!()
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
