//! Lifecycle hooks: exec, HTTP and sleep.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::agent::Node;
use crate::probing;

/// Upstream sets none; nothing of ours waits for ever.
pub(crate) const POST_START_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs a hook to its end. `Err`: its failure, in upstream's words where they are of use.
pub(crate) async fn run(
    node: &Node,
    spec: &Container,
    id: &str,
    hook: &LifecycleHandler,
    pod_ips: &[String],
    limit: Duration,
) -> Result<(), String> {
    let run = run_unlimited(node, spec, id, hook, pod_ips, limit);
    tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Err(format!("no end within {}s", limit.as_secs())))
}

async fn run_unlimited(
    node: &Node,
    spec: &Container,
    id: &str,
    hook: &LifecycleHandler,
    pod_ips: &[String],
    limit: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let result = node.runtime.exec_sync(id, command.clone(), limit).await.map_err(|e| e.to_string())?;
        if result.exit_code == 0 {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned();
        return Err(format!("command '{}' exited with {}: {said}", command.join(" "), result.exit_code));
    }
    if let Some(http) = &hook.http_get {
        if node.hollow {
            return Ok(());
        }
        let host = pod_ips.first().cloned().unwrap_or_else(|| node.config.node_ip.to_string());
        let target = probing::HttpTarget::new(http, spec, &host)?;
        // Whatever it answers: only a hook that cannot be asked has failed.
        return target.status(limit, "kube-lifecycle").await.map(drop);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the hook has no known handler".to_owned())
}
