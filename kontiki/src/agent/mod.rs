//! `kontiki agent`: a worker node, or many hollow ones.

mod bootstrap;
mod join;
pub(crate) mod real;
mod renew;

use std::path::PathBuf;

use clap::Args;
use kubelet_agent::containerd::PodNetwork;
use kubelet_agent::{AgentConfig, Runtime, Servers};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::{self, AgentConfiguration, NodeConfiguration, RuntimeKind};

/// Run a worker node: the kubelet over a container runtime.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki agent --join https://10.0.0.1:6443 --token abcdef.0123456789abcdef:sha256:...
  kontiki agent --config /etc/kontiki/agent.yaml

It stays in the foreground. Run again on the same --data-dir it continues with the identity it has.")]
pub(crate) struct AgentArgs {
    /// Configuration file; made by --join as DATA_DIR/agent.yaml
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the node's identity, volumes and state are kept
    #[arg(long, default_value = "/var/lib/kontiki-agent")]
    data_dir: PathBuf,
    /// Join the cluster of this server (https://HOST:PORT)
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    join: Option<String>,
    /// Join token (kontiki token create --for agent); needed with --join until the node has its identity
    #[arg(long, env = "KONTIKI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Name of the node; the host name by default
    #[arg(long)]
    node_name: Option<String>,
    /// Address of the node; by default the one that leads to the server
    #[arg(long)]
    node_ip: Option<std::net::IpAddr>,
    /// CRI socket of a runtime that is there already; by default a containerd of our own is started
    #[arg(long)]
    runtime_socket: Option<PathBuf>,
    /// Addresses of this node's pods; by default the control plane gives the node a range of its own
    #[arg(long)]
    pod_cidr: Option<String>,
}

/// Most pods a node takes, upstream's default.
const MAX_PODS: u32 = 110;

pub(crate) async fn run(args: AgentArgs) -> Result<(), Failure> {
    crate::logging::init();
    let metrics = crate::prometheus::install()?;
    kubelet_agent::set_metrics_renderer(move || metrics.render());
    let file = args.config.clone().unwrap_or_else(|| args.data_dir.join("agent.yaml"));
    if !file.exists() {
        join::join(&args, &file).await?;
    }
    let config: AgentConfiguration = config::read(&file)?;
    let (version, kind) = (config::API_VERSION, AgentConfiguration::KIND);
    if config.api_version != version || config.kind != kind {
        return Err(format!("{}: expected apiVersion {version}, kind {kind}", file.display()).into());
    }
    // Two would end each other's containerd.
    let _lock = crate::lock::exclusive(&config.data_dir, "kontiki agent").await?;
    let stop = CancellationToken::new();
    tokio::spawn(crate::server::stop_on_signal(stop.clone()));
    let servers = Servers::from(config.servers.clone());
    tokio::spawn(renew::keep(config.clone(), file, servers.clone(), stop.clone()));
    serve(config, servers, stop).await
}

async fn serve(config: AgentConfiguration, servers: Servers, stop: CancellationToken) -> Result<(), Failure> {
    match config.runtime {
        RuntimeKind::Fake => {
            let nodes = config.nodes.iter();
            let nodes = nodes.map(|node| agent_config(&config, node, Runtime::Fake, None, &servers)).collect();
            Ok(kubelet_agent::run_hollow(nodes, stop).await?)
        }
        RuntimeKind::Socket => {
            let socket = config.runtime_socket.clone().ok_or("runtime: socket needs runtimeSocket")?;
            let node = agent_config(&config, the_one(&config)?, Runtime::Cri { socket }, None, &servers);
            Ok(kubelet_agent::run(node, stop).await?)
        }
        RuntimeKind::Containerd => real::serve(&config, the_one(&config)?, &servers, stop).await,
    }
}

/// A process runs one node on a real runtime.
fn the_one(config: &AgentConfiguration) -> Result<&NodeConfiguration, Failure> {
    match config.nodes.as_slice() {
        [node] => Ok(node),
        _ => Err("a real runtime serves exactly one node: name one in nodes".into()),
    }
}

fn agent_config(
    config: &AgentConfiguration,
    node: &NodeConfiguration,
    runtime: Runtime,
    pod_network: Option<PodNetwork>,
    servers: &Servers,
) -> AgentConfig {
    AgentConfig {
        node_name: node.name.clone(),
        node_ip: node.ip,
        kubeconfig: node.kubeconfig.clone(),
        servers: servers.clone(),
        // Hollow nodes end with their process: who follows starts all their pods anew.
        stop_pods_on_exit: config.stop_pods_on_exit && !matches!(runtime, Runtime::Fake),
        runtime,
        root_dir: config.data_dir.join("kubelet").join(&node.name),
        port: node.port,
        serving_certificate: node.serving_certificate.clone().zip(node.serving_key.clone()),
        client_ca: node.client_ca.clone(),
        pod_cidr: node.pod_cidr.clone(),
        pod_network,
        cgroup_root: node.cgroup_root(),
        labels: Vec::new(),
        max_pods: MAX_PODS,
    }
}
