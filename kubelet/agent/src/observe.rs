//! From the runtime's answers to what `kubelet-core` decides on.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use kubelet_core::{Container, ContainerState, Observed, ProbeResults, Sandbox, pods};
use kubelet_cri::{CriError, cri};

use crate::agent::Node;
use crate::{clock, paths};

/// Annotation with the hash of what a container was made from.
pub(crate) const HASH: &str = "io.kubernetes.container.hash";
/// Bytes of a termination message at most.
const MAX_MESSAGE: usize = 4096;
/// Lines and bytes of a log that may stand in for it.
const MAX_LOG_LINES: usize = 80;
const MAX_LOG_BYTES: usize = 2048;

/// Remembers what cannot change, so that only news is asked for.
#[derive(Default)]
pub(crate) struct Observer {
    /// By id, with the state they were in.
    containers: HashMap<String, (i32, Container)>,
    sandbox_ips: HashMap<String, Vec<String>>,
    /// Waiting reasons last told, by container.
    pub(crate) told_waiting: HashMap<String, String>,
    adopted: bool,
}

impl Observer {
    /// Brings the runtime's part of `observed` up to date.
    pub(crate) async fn refresh(&mut self, node: &Node, pod: &Pod, observed: &mut Observed) -> Result<(), CriError> {
        let uid = pods::identity(pod).2;
        let (sandboxes, containers) =
            tokio::join!(node.runtime.list_pod_sandboxes(Some(uid)), node.runtime.list_containers(Some(uid)));
        let (sandboxes, containers) = (sandboxes?, containers?);
        let mut list = Vec::with_capacity(sandboxes.len());
        for sandbox in sandboxes {
            list.push(self.sandbox(node, pod, sandbox).await?);
        }
        let mut known = Vec::with_capacity(containers.len());
        for listed in &containers {
            match self.container(node, pod, listed).await {
                Ok(container) => known.push(container),
                // It went away between list and question.
                Err(CriError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.containers.retain(|id, _| containers.iter().any(|c| c.id == *id));
        self.sandbox_ips.retain(|id, _| list.iter().any(|s| s.id == *id));
        let alive = |id: &String| known.iter().any(|c| c.id == *id);
        observed.probes.retain(|id, _| alive(id));
        observed.post_started.retain(alive);
        observed.stop_retries.retain(|id, _| alive(id));
        observed.sandboxes = list;
        observed.containers = known;
        observed.sort();
        if !std::mem::replace(&mut self.adopted, true) {
            adopt(pod, observed);
        }
        Ok(())
    }

    async fn sandbox(&mut self, node: &Node, pod: &Pod, listed: cri::PodSandbox) -> Result<Sandbox, CriError> {
        let ready = listed.state == cri::PodSandboxState::SandboxReady as i32;
        let created = clock::from_nanos(listed.created_at).unwrap_or_default();
        if ready && !pods::host_network(pod) && !self.sandbox_ips.contains_key(&listed.id) {
            let status = node.runtime.pod_sandbox_status(&listed.id).await?;
            let network = status.network.unwrap_or_default();
            let more = network.additional_ips.into_iter().map(|ip| ip.ip);
            let ips: Vec<_> = std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect();
            if !ips.is_empty() {
                self.sandbox_ips.insert(listed.id.clone(), ips);
            }
        }
        Ok(Sandbox {
            ips: self.sandbox_ips.get(&listed.id).cloned().unwrap_or_default(),
            attempt: listed.metadata.map_or(0, |m| m.attempt),
            id: listed.id,
            ready,
            created,
        })
    }

    async fn container(&mut self, node: &Node, pod: &Pod, listed: &cri::Container) -> Result<Container, CriError> {
        if let Some((state, container)) = self.containers.get(&listed.id)
            && *state == listed.state
        {
            return Ok(container.clone());
        }
        let status = node.runtime.container_status(&listed.id).await?;
        let container = convert(node, pod, listed, &status);
        self.containers.insert(listed.id.clone(), (listed.state, container.clone()));
        Ok(container)
    }
}

/// Takes over what ran before this agent did: what was ready is ready until its probes say otherwise,
/// and a postStart hook that was cut off is not run again.
fn adopt(pod: &Pod, observed: &mut Observed) {
    observed.post_started = observed.containers.iter().filter(|c| c.running()).map(|c| c.id.clone()).collect();
    let Some(status) = &pod.status else { return };
    let lists = [&status.container_statuses, &status.init_container_statuses];
    for told in lists.into_iter().flatten().flatten() {
        let Some(container) = observed.containers.iter().find(|c| c.name == told.name && c.running()) else { continue };
        if told.container_id.as_deref().is_some_and(|id| id.ends_with(&container.id)) {
            let results = ProbeResults {
                startup: (told.started == Some(true)).then_some(true),
                readiness: told.ready.then_some(true),
                liveness: None,
            };
            observed.probes.insert(container.id.clone(), results);
        }
    }
}

fn convert(node: &Node, pod: &Pod, listed: &cri::Container, status: &cri::ContainerStatus) -> Container {
    let metadata = listed.metadata.clone().unwrap_or_default();
    let state = match status.state() {
        cri::ContainerState::ContainerCreated => ContainerState::Created,
        cri::ContainerState::ContainerUnknown => ContainerState::Unknown,
        cri::ContainerState::ContainerRunning => {
            ContainerState::Running { started: clock::from_nanos(status.started_at).unwrap_or_default() }
        }
        cri::ContainerState::ContainerExited => ContainerState::Exited {
            started: clock::from_nanos(status.started_at),
            finished: clock::from_nanos(status.finished_at).unwrap_or_else(clock::now),
            exit_code: status.exit_code,
            reason: reason(status),
            message: message(node, pod, &metadata.name, metadata.attempt, status),
        },
    };
    let image = status.image.as_ref().map(|i| i.image.clone()).filter(|i| !i.is_empty());
    Container {
        id: listed.id.clone(),
        attempt: metadata.attempt,
        sandbox_id: listed.pod_sandbox_id.clone(),
        image: image.or_else(|| listed.image.as_ref().map(|i| i.image.clone())).unwrap_or_default(),
        image_id: status.image_ref.clone(),
        created: clock::from_nanos(listed.created_at).unwrap_or_default(),
        hash: listed.annotations.get(HASH).cloned().unwrap_or_default(),
        name: metadata.name,
        state,
    }
}

fn reason(status: &cri::ContainerStatus) -> String {
    match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed".to_owned(),
        ("", _) => "Error".to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

/// What the container left in its termination message file, or the end of its log where it asked for that.
fn message(node: &Node, pod: &Pod, name: &str, attempt: u32, status: &cri::ContainerStatus) -> String {
    if node.hollow {
        return status.message.clone();
    }
    let file = paths::termination_log(node, pod, name, attempt);
    let written = std::fs::read(&file).unwrap_or_default();
    let written = &written[written.len().saturating_sub(MAX_MESSAGE)..];
    if !written.is_empty() {
        return String::from_utf8_lossy(written).into_owned();
    }
    let spec = pods::find_container(pod, name).map(|(_, c)| c);
    let from_log = spec.is_some_and(|c| c.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"));
    if from_log && status.exit_code != 0 {
        let log = crate::logs::tail_text(std::path::Path::new(&status.log_path), MAX_LOG_LINES);
        let cut = (0..=log.len()).rev().filter(|n| log.is_char_boundary(*n)).find(|n| log.len() - n >= MAX_LOG_BYTES);
        return log[cut.unwrap_or(0)..].to_owned();
    }
    status.message.clone()
}
