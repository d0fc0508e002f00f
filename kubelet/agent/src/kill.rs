//! Ending containers and pods, gracefully.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kubelet_core::{Kind, Observed, pods};
use kubelet_cri::CriError;
use tokio::time::Instant;

use crate::agent::Node;
use crate::hooks;

/// What a container gets at least once its hook is over, as in upstream.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);
/// Waits between tries while the runtime is away, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A container that is to end.
pub(crate) struct Stop<'a> {
    pub(crate) spec: &'a Container,
    pub(crate) id: &'a str,
    pub(crate) grace: Duration,
    /// Whether its preStop hook runs: once only, however often it is told to stop.
    pub(crate) hook: bool,
    /// Addresses of the pod, for the hook.
    pub(crate) ips: &'a [String],
}

/// preStop hook, stop signal, kill: all within the grace.
pub(crate) async fn container(node: &Node, pod: &Pod, stop: Stop<'_>) -> Result<(), CriError> {
    let began = Instant::now();
    let hook = stop.spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    let mut left = stop.grace;
    if let Some(hook) = hook.filter(|_| stop.hook && !stop.grace.is_zero()) {
        if let Err(error) = hooks::run(node, stop.spec, stop.id, hook, stop.ips, stop.grace).await {
            tracing::debug!(error, container = stop.id, "a preStop hook failed");
            let kind = pods::find_container(pod, &stop.spec.name).map_or(Kind::App, |(kind, _)| kind);
            // Not what it said: that may be a secret, and events are read by many.
            let message = "PreStopHook failed".to_owned();
            node.events.pod(pod, Some((kind, &stop.spec.name)), false, "FailedPreStopHook", message);
        }
        left = stop.grace.saturating_sub(began.elapsed()).max(MINIMUM_GRACE);
    }
    signal(node, stop.id, left).await
}

/// Asks again while the runtime is away: nobody but its own time ends a container.
async fn signal(node: &Node, id: &str, left: Duration) -> Result<(), CriError> {
    let deadline = Instant::now() + left;
    let mut wait = RETRY_FIRST;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match node.runtime.stop_container(id, left).await {
            Err(CriError::Unavailable(_)) if wait < left => tokio::time::sleep(wait).await,
            result => return result,
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Everything that runs of a pod: app containers together, then sidecars in reverse order, then the sandboxes.
/// Returns when nothing runs any more. `hooked`: containers whose preStop hook has run, by id.
pub(crate) async fn pod(node: &Node, pod: &Pod, observed: &Observed, grace: Duration, hooked: &BTreeSet<String>) {
    let began = Instant::now();
    let ips = observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
    let running = |name: &str| observed.containers.iter().find(|c| c.name == name && c.running()).map(|c| c.id.clone());
    let all = pods::all_containers(pod);
    let (sidecars, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|(kind, c)| *kind == Kind::Init && pods::is_sidecar(c));
    let stop = async |kind: Kind, spec: &Container, id: &str, grace: Duration| {
        node.events.pod(pod, Some((kind, &spec.name)), true, "Killing", format!("Stopping container {}", spec.name));
        let stop = Stop { spec, id, grace, hook: !hooked.contains(id), ips: &ips };
        if let Err(error) = container(node, pod, stop).await {
            // What still runs ends with its sandbox.
            tracing::warn!(%error, container = id, pod = pods::long_name(pod), "stopping a container");
        }
    };
    let stops = others.iter().filter_map(|(kind, spec)| Some((kind, spec, running(&spec.name)?)));
    let stops = stops.map(|(kind, spec, id)| async move { stop(*kind, spec, &id, grace).await });
    futures::future::join_all(stops).await;
    for (kind, spec) in sidecars.iter().rev() {
        let Some(id) = running(&spec.name) else { continue };
        let left = grace.saturating_sub(began.elapsed()).max(MINIMUM_GRACE.min(grace));
        stop(*kind, spec, &id, left).await;
    }
    stop_sandboxes(node, pod).await;
}

/// Until the runtime says they are stopped: it may be down for a while.
async fn stop_sandboxes(node: &Node, pod: &Pod) {
    let uid = pods::identity(pod).2;
    let mut wait = RETRY_FIRST;
    loop {
        match stop_once(node, uid).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, pod = pods::long_name(pod), "stopping a pod's sandbox"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn stop_once(node: &Node, uid: &str) -> Result<(), CriError> {
    for sandbox in node.runtime.list_pod_sandboxes(Some(uid)).await? {
        node.runtime.stop_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
