//! What to tell the API server about a pod.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conditions::{Facts, conditions, disruption};
use crate::observed::{Container, ContainerState, Kind, Observed, ProbeResults};
use crate::{Desired, Now, phase, pods, resources, sync};

/// What of the node goes into every pod's status.
#[derive(Clone, Debug)]
pub struct NodeFacts<'a> {
    pub host_ip: &'a str,
    /// `containerd`, the prefix of container ids.
    pub runtime_name: &'a str,
    /// When this node first saw the pod.
    pub start_time: Now,
}

/// The whole status of a pod as this node sees it; what others own of it is taken over from the pod.
pub fn pod_status(desired: &Desired<'_>, observed: &Observed, node: &NodeFacts<'_>, now: Now) -> api::PodStatus {
    let pod = desired.pod;
    let before = pod.status.clone().unwrap_or_default();
    if never_here(desired, observed) {
        return refused_status(desired, node, before);
    }
    let all = |kind: Kind, prior: &Option<Vec<api::ContainerStatus>>| -> Vec<api::ContainerStatus> {
        let specs = pods::all_containers(pod).into_iter().filter(|(k, _)| *k == kind);
        let told = |spec: &api::Container| prior.iter().flatten().find(|s| s.name == spec.name);
        specs.map(|(_, spec)| container_status(desired, kind, &spec, observed, node, told(&spec))).collect()
    };
    let init = all(Kind::Init, &before.init_container_statuses);
    let apps = all(Kind::App, &before.container_statuses);
    let ephemeral = all(Kind::Ephemeral, &before.ephemeral_container_statuses);
    let phase = overall_phase(desired, observed, &init, &apps, before.phase.as_deref());
    let sandbox = observed.ready_sandbox();
    let facts = Facts { pod, phase, init: &init, apps: &apps, sandbox_ready: sandbox.is_some() };
    let cause = desired.terminating.and_then(|t| t.reason.as_ref());
    let disruption = cause.and_then(|cause| Some(disruption(pod, cause.disruption?, &cause.message, now)));
    let conditions = conditions(&facts, now).into_iter().chain(disruption).collect();
    let ips = ips(pod, observed, node, &before);
    let (reason, message) = match cause {
        Some(cause) => (Some(cause.reason.clone()), Some(cause.message.clone())),
        None => (before.reason.clone(), before.message.clone()),
    };
    let some = |list: Vec<api::ContainerStatus>| (!list.is_empty()).then_some(list);
    api::PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        init_container_statuses: some(init),
        container_statuses: some(apps),
        ephemeral_container_statuses: some(ephemeral),
        host_ip: Some(node.host_ip.to_owned()),
        host_ips: Some(vec![api::HostIP { ip: node.host_ip.to_owned() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| api::PodIP { ip }).collect()),
        start_time: before.start_time.clone().or(Some(Time(node.start_time))),
        qos_class: before.qos_class.clone().or_else(|| Some(resources::qos_class(pod).to_owned())),
        observed_generation: pod.metadata.generation,
        ..api::PodStatus::default()
    }
}

/// Whether the pod ended, or was refused, before anything of it was on this node.
fn never_here(desired: &Desired<'_>, observed: &Observed) -> bool {
    let refused = desired.terminating.and_then(|t| t.reason.as_ref()).is_some_and(|cause| cause.refused);
    let told = desired.pod.status.as_ref().is_some_and(|s| s.container_statuses.is_some());
    let nothing = observed.sandboxes.is_empty() && observed.containers.is_empty();
    nothing && !told && (refused || pods::is_terminal(desired.pod))
}

/// Of such a pod's containers there is nothing to tell.
fn refused_status(desired: &Desired<'_>, node: &NodeFacts<'_>, before: api::PodStatus) -> api::PodStatus {
    let cause = desired.terminating.and_then(|t| t.reason.as_ref());
    let ended = |phase: &String| phase == "Succeeded" || phase == "Failed";
    api::PodStatus {
        phase: before.phase.clone().filter(ended).or(Some("Failed".to_owned())),
        reason: cause.map(|cause| cause.reason.clone()).or(before.reason),
        message: cause.map(|cause| cause.message.clone()).or(before.message),
        conditions: before.conditions,
        start_time: before.start_time.or(Some(Time(node.start_time))),
        qos_class: before.qos_class.or_else(|| Some(resources::qos_class(desired.pod).to_owned())),
        observed_generation: desired.pod.metadata.generation,
        ..api::PodStatus::default()
    }
}

fn overall_phase(
    desired: &Desired<'_>,
    observed: &Observed,
    init: &[api::ContainerStatus],
    apps: &[api::ContainerStatus],
    before: Option<&str>,
) -> &'static str {
    // A terminal phase is never left.
    match before {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let ended = desired.terminating.is_some() && observed.killed;
    if ended && desired.terminating.is_some_and(|t| t.reason.is_some()) {
        return "Failed";
    }
    // A pod that will not start anything again but still has something running is not at its end yet.
    let finished = sync::finished(desired.pod, observed);
    let decided = phase::phase(desired.pod, init, apps, ended);
    match decided {
        "Succeeded" | "Failed" if finished && observed.any_running() => "Running",
        "Succeeded" | "Failed" => decided,
        // What never started and never will has failed.
        _ if ended => "Failed",
        _ => decided,
    }
}

fn ips(pod: &api::Pod, observed: &Observed, node: &NodeFacts<'_>, before: &api::PodStatus) -> Vec<String> {
    if pods::host_network(pod) {
        return vec![node.host_ip.to_owned()];
    }
    match observed.sandboxes.first() {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        // An ended sandbox has lost its addresses; the status keeps them.
        _ => before.pod_ips.iter().flatten().map(|p| p.ip.clone()).collect(),
    }
}

fn container_status(
    desired: &Desired<'_>,
    kind: Kind,
    spec: &api::Container,
    observed: &Observed,
    node: &NodeFacts<'_>,
    prior: Option<&api::ContainerStatus>,
) -> api::ContainerStatus {
    let pod = desired.pod;
    let latest = observed.latest(&spec.name);
    // A start is over when its postStart hook is: until then the status is what it was before. What ends is shown as it is.
    let starting = latest.filter(|c| desired.terminating.is_none() && observed.starting(spec, c));
    let shown = if starting.is_some() { observed.previous(&spec.name) } else { latest };
    let mut status = match shown {
        Some(container) => seen_status(pod, spec, container, observed, node),
        None => unseen_status(pod, spec, observed, prior),
    };
    if let Some(prior) = prior {
        status.restart_count = status.restart_count.max(prior.restart_count);
    }
    let ended = desired.terminating.is_some() && observed.killed;
    if ended && status.state.as_ref().is_none_or(|s| s.terminated.is_none()) {
        status.state = Some(lost());
        status.ready = false;
        status.started = Some(false);
    }
    if kind != Kind::Ephemeral {
        readiness(kind, spec, observed, &mut status);
    }
    status
}

/// From an incarnation the runtime knows.
fn seen_status(
    pod: &api::Pod,
    spec: &api::Container,
    container: &Container,
    observed: &Observed,
    node: &NodeFacts<'_>,
) -> api::ContainerStatus {
    let mut status = api::ContainerStatus {
        name: spec.name.clone(),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        container_id: Some(format!("{}://{}", node.runtime_name, container.id)),
        restart_count: i32::try_from(container.attempt).unwrap_or(i32::MAX),
        state: Some(state(pod, container, node)),
        last_state: observed.before(container).map(|c| state(pod, c, node)).filter(|s| s.terminated.is_some()),
        volume_mounts: mounts(spec),
        ..api::ContainerStatus::default()
    };
    if container.running() {
        status.resources = spec.resources.clone();
        status.allocated_resources = spec.resources.as_ref().and_then(|r| r.requests.clone());
    } else if let Some(waiting) = observed.waiting.get(&spec.name) {
        // It ended and the next one is held up: the end moves to the last state.
        status.last_state = status.state.take().filter(|s| s.terminated.is_some()).or(status.last_state);
        status.state = Some(waiting_state(&waiting.reason, &waiting.message));
    }
    status
}

/// Nothing in the runtime: not started yet, or removed behind our back.
fn unseen_status(
    pod: &api::Pod,
    spec: &api::Container,
    observed: &Observed,
    prior: Option<&api::ContainerStatus>,
) -> api::ContainerStatus {
    if let Some(prior) = prior.filter(|p| p.container_id.as_deref().is_some_and(|id| !id.is_empty())) {
        return lost_status(pod, spec, observed, prior);
    }
    api::ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        state: Some(not_started(pod, spec, observed)),
        volume_mounts: mounts(spec),
        ..api::ContainerStatus::default()
    }
}

/// It ran once, and the runtime has forgotten it: after a reboot, or because someone removed it.
fn lost_status(
    pod: &api::Pod,
    spec: &api::Container,
    observed: &Observed,
    prior: &api::ContainerStatus,
) -> api::ContainerStatus {
    let mut status = prior.clone();
    let state = prior.state.as_ref();
    if state.is_some_and(|s| s.terminated.is_some()) {
        return status;
    }
    if state.is_some_and(|s| s.running.is_some()) {
        status.last_state = Some(lost());
    }
    status.state = Some(not_started(pod, spec, observed));
    status
}

/// What holds it up, or what every container of the pod waits for.
fn not_started(pod: &api::Pod, spec: &api::Container, observed: &Observed) -> api::ContainerState {
    match observed.waiting.get(&spec.name) {
        Some(waiting) => waiting_state(&waiting.reason, &waiting.message),
        None => waiting_state(default_reason(pod), ""),
    }
}

/// Init containers too wait for the pod to be initialized: `kubectl get` shows `Init:0/2` for that.
fn default_reason(pod: &api::Pod) -> &'static str {
    if pods::init_containers(pod).is_empty() { "ContainerCreating" } else { "PodInitializing" }
}

fn readiness(kind: Kind, spec: &api::Container, observed: &Observed, status: &mut api::ContainerStatus) {
    let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
    let probes = observed.latest(&spec.name).map_or(ProbeResults::default(), |c| observed.probes_of(c));
    let started = running && (spec.startup_probe.is_none() || probes.startup == Some(true));
    status.started = Some(started);
    status.ready = if kind == Kind::Init && !pods::is_sidecar(spec) {
        status.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0)
    } else {
        started && (spec.readiness_probe.is_none() || probes.readiness == Some(true))
    };
}

fn state(pod: &api::Pod, container: &Container, node: &NodeFacts<'_>) -> api::ContainerState {
    match &container.state {
        ContainerState::Running { started } => api::ContainerState {
            running: Some(api::ContainerStateRunning { started_at: Some(Time(*started)) }),
            ..Default::default()
        },
        ContainerState::Exited { started, finished, exit_code, reason, message } => api::ContainerState {
            terminated: Some(api::ContainerStateTerminated {
                container_id: Some(format!("{}://{}", node.runtime_name, container.id)),
                exit_code: *exit_code,
                reason: (!reason.is_empty()).then(|| reason.clone()),
                message: (!message.is_empty()).then(|| message.clone()),
                started_at: started.map(Time),
                finished_at: Some(Time(*finished)),
                signal: None,
            }),
            ..Default::default()
        },
        ContainerState::Created | ContainerState::Unknown => waiting_state(default_reason(pod), ""),
    }
}

fn waiting_state(reason: &str, message: &str) -> api::ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    api::ContainerState {
        waiting: Some(api::ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    }
}

fn lost() -> api::ContainerState {
    api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn mounts(spec: &api::Container) -> Option<Vec<api::VolumeMountStatus>> {
    let mounts = spec.volume_mounts.as_deref().filter(|m| !m.is_empty())?;
    let status = |m: &api::VolumeMount| api::VolumeMountStatus {
        name: m.name.clone(),
        mount_path: m.mount_path.clone(),
        read_only: m.read_only,
        recursive_read_only: m.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
        ..Default::default()
    };
    Some(mounts.iter().map(status).collect())
}
