//! Pods that only the runtime knows any more: they went away while we were not there. Their containers
//! tell how they are to end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Lifecycle, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubelet_core::{ContainerState, Observed, Sandbox, pods};
use kubelet_cri::{CriError, cri, labels};
use tokio::task::JoinHandle;

use crate::agent::Node;
use crate::cri_config::{GRACE, PORTS, PRE_STOP};
use crate::{clock, kill};

/// Ends under way, by pod uid.
#[derive(Default)]
pub(crate) struct Ends {
    tasks: HashMap<String, JoinHandle<()>>,
}

impl Ends {
    /// Begins to end every pod without a worker.
    pub(crate) async fn begin(&mut self, node: &Arc<Node>) -> Result<(), CriError> {
        self.tasks.retain(|_, task| !task.is_finished());
        let mut by_pod: HashMap<String, Vec<cri::PodSandbox>> = HashMap::new();
        for sandbox in node.runtime.list_pod_sandboxes(None).await? {
            let uid = sandbox.labels.get(labels::POD_UID).cloned().unwrap_or_default();
            by_pod.entry(uid).or_default().push(sandbox);
        }
        by_pod.retain(|uid, _| !node.workers.lock().contains_key(uid));
        for (uid, sandboxes) in by_pod {
            if let Entry::Vacant(place) = self.tasks.entry(uid.clone()) {
                let node = node.clone();
                place.insert(tokio::spawn(async move {
                    if let Err(error) = end(&node, &uid, sandboxes).await {
                        tracing::warn!(%error, uid, "ending a pod that is gone");
                    }
                }));
            }
        }
        Ok(())
    }

    pub(crate) fn uids(&self) -> Vec<String> {
        self.tasks.iter().filter(|(_, task)| !task.is_finished()).map(|(uid, _)| uid.clone()).collect()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn end(node: &Node, uid: &str, sandboxes: Vec<cri::PodSandbox>) -> Result<(), CriError> {
    let containers = node.runtime.list_containers(Some(uid)).await?;
    let pod = restore(&sandboxes, &containers);
    tracing::info!(pod = pods::long_name(&pod), "ending a pod that is gone");
    let observed = observe(node, &sandboxes, &containers).await?;
    let grace = Duration::from_secs(u64::try_from(pods::grace_seconds(&pod)).unwrap_or(0));
    kill::pod(node, &pod, &observed, grace, &Default::default()).await;
    for sandbox in sandboxes {
        node.runtime.remove_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

async fn observe(
    node: &Node,
    sandboxes: &[cri::PodSandbox],
    containers: &[cri::Container],
) -> Result<Observed, CriError> {
    let mut observed = Observed::default();
    for sandbox in sandboxes {
        let network = node.runtime.pod_sandbox_status(&sandbox.id).await?.network.unwrap_or_default();
        observed.sandboxes.push(Sandbox {
            id: sandbox.id.clone(),
            attempt: sandbox.metadata.as_ref().map_or(0, |m| m.attempt),
            ready: sandbox.state == cri::PodSandboxState::SandboxReady as i32,
            created: clock::from_nanos(sandbox.created_at).unwrap_or_default(),
            ips: Some(network.ip).filter(|ip| !ip.is_empty()).into_iter().collect(),
        });
    }
    observed.containers = containers.iter().filter(|c| running(c)).map(listed).collect();
    observed.sort();
    Ok(observed)
}

fn running(container: &cri::Container) -> bool {
    container.state == cri::ContainerState::ContainerRunning as i32
}

fn listed(container: &cri::Container) -> kubelet_core::Container {
    let metadata = container.metadata.clone().unwrap_or_default();
    let created = clock::from_nanos(container.created_at).unwrap_or_default();
    kubelet_core::Container {
        id: container.id.clone(),
        name: metadata.name,
        attempt: metadata.attempt,
        sandbox_id: container.pod_sandbox_id.clone(),
        image: String::new(),
        image_id: String::new(),
        created,
        hash: String::new(),
        state: ContainerState::Running { started: created },
    }
}

/// The pod, as far as its end needs it.
fn restore(sandboxes: &[cri::PodSandbox], containers: &[cri::Container]) -> Pod {
    let labels = sandboxes.first().map(|sandbox| sandbox.labels.clone()).unwrap_or_default();
    let label = |key: &str| labels.get(key).cloned();
    let grace = containers.iter().filter_map(|c| c.annotations.get(GRACE)?.parse::<i64>().ok()).max();
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: label(labels::POD_NAME),
            namespace: label(labels::POD_NAMESPACE),
            uid: label(labels::POD_UID),
            ..Default::default()
        },
        ..Default::default()
    };
    let spec = pod.spec.get_or_insert_default();
    // From before containers told: as if the pod had said nothing.
    spec.termination_grace_period_seconds = grace;
    spec.containers = containers.iter().filter(|c| running(c)).map(specification).collect();
    pod
}

fn specification(container: &cri::Container) -> Container {
    let told = |key: &str| container.annotations.get(key);
    Container {
        name: container.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default(),
        lifecycle: told(PRE_STOP)
            .and_then(|text| serde_json::from_str(text).ok())
            .map(|hook| Lifecycle { pre_stop: Some(hook), ..Default::default() }),
        ports: told(PORTS).and_then(|text| serde_json::from_str(text).ok()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_remember_how_their_pod_ends() {
        let strings = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let sandbox = cri::PodSandbox {
            labels: strings(&[(labels::POD_NAME, "p"), (labels::POD_NAMESPACE, "n"), (labels::POD_UID, "u")]),
            ..Default::default()
        };
        let container = |name: &str, state: cri::ContainerState, told: &[(&str, &str)]| cri::Container {
            metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            state: state as i32,
            annotations: strings(told),
            ..Default::default()
        };
        let hook = r#"{"exec":{"command":["bye"]}}"#;
        let containers = [
            container("a", cri::ContainerState::ContainerRunning, &[(GRACE, "7"), (PRE_STOP, hook)]),
            container("b", cri::ContainerState::ContainerExited, &[(GRACE, "7")]),
        ];
        let pod = restore(&[sandbox], &containers);
        assert_eq!(pods::long_name(&pod), "p_n(u)");
        assert_eq!(pods::grace_seconds(&pod), 7);
        let [only] = pods::app_containers(&pod) else { panic!("one container runs") };
        let hook = only.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).and_then(|h| h.exec.as_ref());
        assert_eq!(hook.and_then(|exec| exec.command.clone()), Some(vec!["bye".to_owned()]));
    }
}
