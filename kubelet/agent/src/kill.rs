//! Ending containers and pods, gracefully.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kubelet_core::{Kind, Observed, pods};
use tokio::time::Instant;

use crate::agent::Node;
use crate::hooks;

/// What a container gets at least once its hook is over, as in upstream.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

/// preStop hook, stop signal, kill: all within `grace`. `hook_ran`: no hook (again).
pub(crate) async fn container(node: &Node, pod: &Pod, spec: &Container, id: &str, grace: Duration, hook_ran: bool) {
    let began = Instant::now();
    let hook = spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).filter(|_| !hook_ran && !grace.is_zero());
    let mut left = grace;
    if let Some(hook) = hook {
        let ips = node.pod_ips(pod);
        if let Err(error) = hooks::run(node, pod, spec, id, hook, &ips, grace).await {
            let kind = pods::find_container(pod, &spec.name).map_or(Kind::App, |(kind, _)| kind);
            node.events.pod(
                pod,
                Some((kind, &spec.name)),
                false,
                "FailedPreStopHook",
                format!("PreStopHook failed: {error}"),
            );
        }
        left = grace.saturating_sub(began.elapsed()).max(MINIMUM_GRACE);
    }
    if let Err(error) = node.runtime.stop_container(id, left).await {
        tracing::warn!(%error, container = id, pod = pods::long_name(pod), "stopping a container");
    }
}

/// Everything that runs of a pod: app containers together, then sidecars in reverse order, then the sandboxes.
/// Returns when nothing runs any more.
pub(crate) async fn pod(node: &Node, pod: &Pod, observed: &Observed, grace: Duration, hooks_ran: bool) {
    let began = Instant::now();
    let running = |name: &str| observed.containers.iter().find(|c| c.name == name && c.running()).map(|c| c.id.clone());
    let all = pods::all_containers(pod);
    let (sidecars, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|(kind, c)| *kind == Kind::Init && pods::is_sidecar(c));
    let stops = others.iter().filter_map(|(kind, spec)| {
        let id = running(&spec.name)?;
        node.events.pod(pod, Some((*kind, &spec.name)), true, "Killing", format!("Stopping container {}", spec.name));
        Some(async move { container(node, pod, spec, &id, grace, hooks_ran).await })
    });
    futures::future::join_all(stops).await;
    for (kind, spec) in sidecars.iter().rev() {
        let Some(id) = running(&spec.name) else { continue };
        node.events.pod(pod, Some((*kind, &spec.name)), true, "Killing", format!("Stopping container {}", spec.name));
        let left = grace.saturating_sub(began.elapsed());
        container(node, pod, spec, &id, left.max(MINIMUM_GRACE.min(grace)), hooks_ran).await;
    }
    stop_sandboxes(node, pod).await;
}

/// Until the runtime says they are stopped: it may be down for a while.
async fn stop_sandboxes(node: &Node, pod: &Pod) {
    let uid = pods::identity(pod).2;
    let mut wait = Duration::from_millis(200);
    loop {
        match stop_once(node, uid).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, pod = pods::long_name(pod), "stopping a pod's sandbox"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

async fn stop_once(node: &Node, uid: &str) -> Result<(), kubelet_cri::CriError> {
    for sandbox in node.runtime.list_pod_sandboxes(Some(uid)).await? {
        node.runtime.stop_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
