//! The runtime asked what runs, again and again: it does not tell of its own accord.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kubelet_cri::labels;

use crate::agent::Node;

/// How often the runtime is asked what runs.
const RELIST_EVERY: Duration = Duration::from_secs(1);
/// The same for hollow nodes, whose containers end only by script.
const HOLLOW_RELIST_EVERY: Duration = Duration::from_secs(5);

/// Asks the runtime what runs, and wakes the workers of pods for which that changed.
pub(crate) async fn keep_relisting(node: Arc<Node>) {
    let every = if node.hollow { HOLLOW_RELIST_EVERY } else { RELIST_EVERY };
    let mut before: Option<HashMap<String, u64>> = None;
    let mut answers = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = node.stop.cancelled() => return,
        }
        let (sandboxes, containers) =
            match tokio::join!(node.runtime.list_pod_sandboxes(None), node.runtime.list_containers(None)) {
                (Ok(sandboxes), Ok(containers)) => (sandboxes, containers),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "asking the runtime what runs");
                    node.status_wake.notify_one();
                    answers = false;
                    continue;
                }
            };
        if !std::mem::replace(&mut answers, true) {
            // The node is ready again, and says so now.
            node.status_wake.notify_one();
        }
        let mut present: HashMap<String, u64> = HashMap::new();
        let items = sandboxes
            .iter()
            .map(|s| (&s.labels, &s.id, s.state))
            .chain(containers.iter().map(|c| (&c.labels, &c.id, c.state)));
        for (labels, id, state) in items {
            let Some(uid) = labels.get(labels::POD_UID) else { continue };
            // Order does not matter: a sum of hashes.
            let entry = present.entry(uid.clone()).or_default();
            *entry = entry.wrapping_add(fingerprint(id, state));
        }
        let running =
            containers.iter().filter(|c| c.state == kubelet_cri::cri::ContainerState::ContainerRunning as i32).count();
        if !node.hollow {
            metrics::gauge!("kubelet_running_containers", "container_state" => "running").set(running as f64);
            let pods =
                sandboxes.iter().filter(|s| s.state == kubelet_cri::cri::PodSandboxState::SandboxReady as i32).count();
            metrics::gauge!("kubelet_running_pods").set(pods as f64);
        }
        {
            let workers = node.workers.lock();
            for (uid, inbox) in workers.iter() {
                if before.as_ref().is_none_or(|before| present.get(uid) != before.get(uid)) {
                    inbox.relist();
                }
            }
        }
        before = Some(present);
    }
}

fn fingerprint(id: &str, state: i32) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    (id, state).hash(&mut hasher);
    hasher.finish()
}
