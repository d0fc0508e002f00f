//! The conditions of a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{Now, pods};

/// What the conditions are made from.
pub struct Facts<'a> {
    pub pod: &'a Pod,
    pub phase: &'a str,
    pub init: &'a [ContainerStatus],
    pub apps: &'a [ContainerStatus],
    pub sandbox_ready: bool,
}

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

const TRUE: Verdict = Verdict { status: true, reason: None, message: None };

fn no(reason: &'static str, message: Option<String>) -> Verdict {
    Verdict { status: false, reason: Some(reason), message }
}

/// The conditions the kubelet owns, with transition times kept from the pod's present status.
pub fn conditions(facts: &Facts<'_>, now: Now) -> Vec<PodCondition> {
    let initialized = initialized(facts);
    let containers_ready = containers_ready(facts);
    let ready = ready(facts, &containers_ready);
    let sandbox = Verdict { status: facts.sandbox_ready, reason: None, message: None };
    vec![
        condition(facts.pod, "PodReadyToStartContainers", sandbox, now),
        condition(facts.pod, "Initialized", initialized, now),
        condition(facts.pod, "Ready", ready, now),
        condition(facts.pod, "ContainersReady", containers_ready, now),
        condition(facts.pod, "PodScheduled", TRUE, now),
    ]
}

/// A condition of another owner, for evictions and the like.
pub fn disruption(pod: &Pod, reason: &'static str, message: &str, now: Now) -> PodCondition {
    condition(
        pod,
        "DisruptionTarget",
        Verdict { status: true, reason: Some(reason), message: Some(message.into()) },
        now,
    )
}

fn condition(pod: &Pod, kind: &str, verdict: Verdict, now: Now) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).find(|c| c.type_ == kind);
    let kept = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(kept.unwrap_or(Time(now))),
        observed_generation: pod.metadata.generation,
        last_probe_time: None,
    }
}

fn initialized(facts: &Facts<'_>) -> Verdict {
    if facts.phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    let started_apps = facts.apps.iter().any(|s| {
        let state = s.state.as_ref();
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some()) || s.last_state.is_some()
    });
    let incomplete: Vec<_> = pods::init_containers(facts.pod)
        .iter()
        .filter(|spec| {
            let status = facts.init.iter().find(|s| s.name == spec.name);
            let done = if pods::is_sidecar(spec) {
                started_apps || status.is_some_and(|s| s.started == Some(true))
            } else {
                status.is_some_and(|s| s.ready)
            };
            !done
        })
        .map(|spec| spec.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return TRUE;
    }
    no("ContainersNotInitialized", Some(format!("containers with incomplete status: [{}]", incomplete.join(" "))))
}

fn containers_ready(facts: &Facts<'_>) -> Verdict {
    match facts.phase {
        "Succeeded" => return no("PodCompleted", None),
        "Failed" => return no("PodFailed", None),
        _ => {}
    }
    let sidecars = pods::init_containers(facts.pod).iter().filter(|c| pods::is_sidecar(c));
    let mut unknown = Vec::new();
    let mut unready = Vec::new();
    let wanted =
        sidecars.map(|c| (c, facts.init)).chain(pods::app_containers(facts.pod).iter().map(|c| (c, facts.apps)));
    for (spec, statuses) in wanted {
        match statuses.iter().find(|s| s.name == spec.name) {
            None => unknown.push(spec.name.as_str()),
            Some(status) if !status.ready => unready.push(spec.name.as_str()),
            Some(_) => {}
        }
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        messages.push(format!("containers with unready status: [{}]", unready.join(" ")));
    }
    if messages.is_empty() { TRUE } else { no("ContainersNotReady", Some(messages.join(", "))) }
}

fn ready(facts: &Facts<'_>, containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict { status: false, reason: containers.reason, message: containers.message.clone() };
    }
    let present = facts.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or(&[]);
    let gates = pods::spec(facts.pod).and_then(|s| s.readiness_gates.as_deref()).unwrap_or(&[]);
    let unmet: Vec<_> = gates
        .iter()
        .filter_map(|gate| match present.iter().find(|c| c.type_ == gate.condition_type) {
            None => {
                Some(format!("corresponding condition of pod readiness gate {:?} does not exist.", gate.condition_type))
            }
            Some(c) if c.status != "True" => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, c.status
            )),
            Some(_) => None,
        })
        .collect();
    if unmet.is_empty() { TRUE } else { no("ReadinessGatesNotReady", Some(unmet.join(", "))) }
}
