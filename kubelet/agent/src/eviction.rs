//! Pods that go so that the node lives: one at a time, as long as memory or disk is short.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kubelet_core::eviction::{self, Candidate, Shortage, Starved};
use kubelet_core::pods;

use crate::agent::Node;
use crate::worker::{Inbox, View};
use crate::{machine, stats};

/// How often the node is looked at, as upstream.
const EVERY: Duration = Duration::from_secs(10);
/// How long an evicted pod may take to end before another one goes.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_EVERY: Duration = Duration::from_millis(500);

/// Looks after the node until stopped.
pub(crate) async fn keep(node: Arc<Node>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = node.stop.cancelled() => return,
        }
        let Some(shortage) = machine::shortage(&node.config.root_dir) else { continue };
        node.status_wake.notify_one();
        if shortage.of == Starved::Disk {
            node.tidy.notify_one();
        }
        if let Some(inbox) = evict(&node, shortage).await {
            ended(&inbox).await;
        }
    }
}

/// Tells one pod to end; its worker's inbox.
async fn evict(node: &Arc<Node>, shortage: Shortage) -> Option<Arc<Inbox>> {
    let running = |view: &Arc<View>| view.status.phase.as_deref() == Some("Running");
    let views: Vec<_> = node.views().into_iter().filter(running).collect();
    let candidates = match measure(node, &views, shortage.of).await {
        Ok(candidates) => candidates,
        Err(error) => {
            tracing::warn!(error, "the node is short of {} and cannot see who uses it", shortage.of.resource());
            return None;
        }
    };
    let chosen = eviction::choose(&candidates, shortage.of)?;
    let termination = eviction::termination(chosen, shortage);
    let message = termination.reason.as_ref().map(|cause| cause.message.clone()).unwrap_or_default();
    tracing::warn!(pod = pods::long_name(chosen.pod), message, "evicting a pod");
    node.events.pod(chosen.pod, None, false, "Evicted", message);
    let inbox = node.workers.lock().get(pods::identity(chosen.pod).2).cloned()?;
    inbox.end(termination);
    Some(inbox)
}

async fn measure<'a>(node: &Arc<Node>, views: &'a [Arc<View>], of: Starved) -> Result<Vec<Candidate<'a>>, String> {
    let mut used = stats::containers(node).await.map_err(|e| e.to_string())?;
    let mut candidates = Vec::with_capacity(views.len());
    for view in views {
        let of_pod = used.remove(pods::identity(&view.pod).2).unwrap_or_default();
        let bytes = |stats: &kubelet_cri::cri::ContainerStats| match of {
            Starved::Memory => stats::working_set(stats),
            Starved::Disk => stats::writable_layer(stats),
        };
        let containers: BTreeMap<_, _> = of_pod.iter().map(|(name, stats)| (name.clone(), bytes(stats))).collect();
        let shared = match of {
            Starved::Memory => 0,
            Starved::Disk => {
                let (node, pod) = (node.clone(), view.pod.clone());
                // Blocking: there may be many files.
                tokio::task::spawn_blocking(move || stats::files(&node, &pod)).await.unwrap_or(0)
            }
        };
        candidates.push(Candidate { pod: &view.pod, containers, shared });
    }
    Ok(candidates)
}

async fn ended(inbox: &Inbox) {
    let over = async {
        while inbox.view().is_some_and(|view| view.status.phase.as_deref() == Some("Running")) {
            tokio::time::sleep(PATIENCE_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, over).await;
}
