//! A node on a containerd of its own.

use std::path::{Path, PathBuf};

use kubelet_agent::containerd::{Containerd, ContainerdConfig, Footprint};
use kubelet_agent::{AgentError, Runtime, Servers};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::{AgentConfiguration, NodeConfiguration};

/// Where the containerd of an agent is.
pub(crate) fn containerd_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("containerd")
}

fn containerd_config(config: &AgentConfiguration, node: &NodeConfiguration) -> ContainerdConfig {
    ContainerdConfig {
        dir: containerd_dir(&config.data_dir),
        pod_cidr: node.pod_cidr.clone(),
        bridge: node.bridge.clone(),
    }
}

/// What a node leaves on the machine besides files.
fn footprint(config: &AgentConfiguration, node: &NodeConfiguration) -> Footprint {
    Footprint {
        data_dir: config.data_dir.clone(),
        containerd: containerd_dir(&config.data_dir),
        bridge: node.bridge.clone(),
        cgroup_root: node.cgroup_root(),
    }
}

pub(super) async fn serve(
    config: &AgentConfiguration,
    node: &NodeConfiguration,
    servers: &Servers,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let result = match stop.run_until_cancelled(Containerd::start(containerd_config(config, node))).await {
        Some(containerd) => {
            let containerd = try_out(config, node, containerd?).await?;
            run(config, node, servers, containerd, stop).await
        }
        None => Ok(()),
    };
    // Not after a failure: whoever starts the agent again lets the pods go on.
    if config.stop_pods_on_exit && result.is_ok() {
        leave(footprint(config, node)).await;
    }
    result
}

/// A node that ends its pods starts from nothing, for somebody who waits: it says at once when nothing can run
/// on it. Not stopped half-way: what a sandbox has made by then, only its end takes away.
async fn try_out(
    config: &AgentConfiguration,
    node: &NodeConfiguration,
    containerd: Containerd,
) -> Result<Containerd, String> {
    if config.stop_pods_on_exit
        && node.pod_cidr.is_some()
        && let Err(error) = containerd.try_sandbox(&node.cgroup_root()).await
    {
        containerd.stop().await;
        return Err(error);
    }
    Ok(containerd)
}

async fn run(
    config: &AgentConfiguration,
    node: &NodeConfiguration,
    servers: &Servers,
    containerd: Containerd,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let runtime = Runtime::Cri { socket: containerd.socket() };
    let network = containerd_config(config, node).network();
    let result: Result<(), AgentError> =
        kubelet_agent::run(super::agent_config(config, node, runtime, Some(network), servers), stop).await;
    if config.stop_pods_on_exit
        && result.is_ok()
        && let Err(error) = containerd.remove_all_pods().await
    {
        tracing::warn!(%error, "not every pod ended in order");
    }
    containerd.stop().await;
    Ok(result?)
}

/// Leaves the machine as it was found.
async fn leave(footprint: Footprint) {
    let left = tokio::task::spawn_blocking(move || footprint.remove()).await;
    for what in left.unwrap_or_else(|error| vec![error.to_string()]) {
        tracing::warn!(what, "something of the node is left on the machine");
    }
}
