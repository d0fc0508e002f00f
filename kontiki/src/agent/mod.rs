//! `kontiki agent`: a worker node, or many hollow ones.

mod join;

use std::path::PathBuf;

use clap::Args;
use kubelet_agent::containerd::{Containerd, ContainerdConfig};
use kubelet_agent::{AgentConfig, Runtime};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::{self, AgentConfiguration, NodeConfiguration, RuntimeKind};

/// Run a worker node: the kubelet over a container runtime.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki agent --join https://10.0.0.1:6443 --token abcdef.0123456789abcdef:sha256:...
  kontiki agent --config /etc/kontiki/agent.yaml

Run again on the same --data-dir it continues with the identity it has.")]
pub(crate) struct AgentArgs {
    /// Configuration file; made by --join as DATA_DIR/agent.yaml
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the node's identity, volumes and state are kept
    #[arg(long, default_value = "/var/lib/kontiki-agent")]
    data_dir: PathBuf,
    /// Join the cluster of this server (https://HOST:PORT)
    #[arg(long, value_name = "URL", requires = "token", conflicts_with = "config")]
    join: Option<String>,
    /// Join token (kontiki token create --for agent)
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
    /// Addresses of this node's pods
    #[arg(long, default_value = "10.244.0.0/24")]
    pod_cidr: String,
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
    let stop = CancellationToken::new();
    tokio::spawn(crate::server::stop_on_signal(stop.clone()));
    serve(config, stop).await
}

async fn serve(config: AgentConfiguration, stop: CancellationToken) -> Result<(), Failure> {
    let configs = |runtime: &Runtime| -> Vec<AgentConfig> {
        config.nodes.iter().map(|node| agent_config(&config, node, runtime.clone())).collect()
    };
    match config.runtime {
        RuntimeKind::Fake => Ok(kubelet_agent::run_hollow(configs(&Runtime::Fake), stop).await?),
        RuntimeKind::Socket => {
            let socket = config.runtime_socket.clone().ok_or("runtime: socket needs runtimeSocket")?;
            Ok(kubelet_agent::run(the_one(configs(&Runtime::Cri { socket }))?, stop).await?)
        }
        RuntimeKind::Containerd => {
            let pod_cidr = config.nodes.first().map(|node| node.pod_cidr.clone()).unwrap_or_default();
            let containerd =
                Containerd::start(ContainerdConfig::new(config.data_dir.join("containerd"), pod_cidr)).await?;
            let runtime = Runtime::Cri { socket: containerd.socket() };
            let result = kubelet_agent::run(the_one(configs(&runtime))?, stop).await;
            // Not after a failure: the pods may be those of another agent on the same directory.
            if config.stop_pods_on_exit && result.is_ok() {
                containerd.remove_all_pods().await?;
            }
            containerd.stop().await;
            Ok(result?)
        }
    }
}

/// A process runs one node on a real runtime.
fn the_one(mut configs: Vec<AgentConfig>) -> Result<AgentConfig, Failure> {
    match (configs.pop(), configs.is_empty()) {
        (Some(config), true) => Ok(config),
        _ => Err("a real runtime serves exactly one node: name one in nodes".into()),
    }
}

fn agent_config(config: &AgentConfiguration, node: &NodeConfiguration, runtime: Runtime) -> AgentConfig {
    AgentConfig {
        node_name: node.name.clone(),
        node_ip: node.ip,
        kubeconfig: node.kubeconfig.clone(),
        servers: config.servers.clone(),
        runtime,
        root_dir: config.data_dir.join("kubelet").join(&node.name),
        port: node.port,
        serving_certificate: node.serving_certificate.clone().zip(node.serving_key.clone()),
        client_ca: node.client_ca.clone(),
        pod_cidr: node.pod_cidr.clone(),
        cgroup_root: format!("/kontiki-{}", node.name),
        labels: Vec::new(),
        max_pods: MAX_PODS,
    }
}
