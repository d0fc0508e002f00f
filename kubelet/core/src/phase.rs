//! The phase of a pod from the states of its containers, as upstream's `getPhase`.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;

#[derive(Default)]
struct Counts {
    pending_init: usize,
    failed_init: usize,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    may_restart: usize,
}

/// `terminal`: the pod has been told to end and nothing of it will start again.
pub fn phase(pod: &Pod, init: &[ContainerStatus], apps: &[ContainerStatus], terminal: bool) -> &'static str {
    let mut counts = Counts::default();
    count_init(pod, init, &mut counts);
    count_apps(pod, apps, &mut counts);
    if counts.failed_init > 0 && pods::restart_policy(pod) == "Never" {
        return "Failed";
    }
    let never_ran_app = counts.running + counts.stopped == 0;
    if never_ran_app && counts.pending_init + counts.failed_init > 0 || counts.waiting > 0 {
        return "Pending";
    }
    if counts.running > 0 && counts.unknown == 0 {
        return "Running";
    }
    if counts.stopped == 0 || counts.unknown > 0 {
        return "Pending";
    }
    let all_succeeded = counts.stopped == counts.succeeded;
    match () {
        () if terminal => {
            if all_succeeded {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        () if counts.may_restart > 0 => "Running",
        () if all_succeeded => "Succeeded",
        () => "Failed",
    }
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

fn count_init(pod: &Pod, statuses: &[ContainerStatus], counts: &mut Counts) {
    for spec in pods::init_containers(pod) {
        let Some(status) = find(statuses, &spec.name) else {
            counts.pending_init += 1;
            continue;
        };
        let state = status.state.as_ref();
        if pods::is_sidecar(spec) {
            counts.pending_init +=
                usize::from(status.started != Some(true) && state.is_none_or(|s| s.terminated.is_none()));
        } else if let Some(ended) = state.and_then(|s| s.terminated.as_ref()) {
            counts.failed_init += usize::from(ended.exit_code != 0);
        } else {
            let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
            match last {
                Some(ended) if ended.exit_code != 0 => counts.failed_init += 1,
                _ => counts.pending_init += 1,
            }
        }
    }
}

fn count_apps(pod: &Pod, statuses: &[ContainerStatus], counts: &mut Counts) {
    for spec in pods::app_containers(pod) {
        let Some(status) = find(statuses, &spec.name) else {
            counts.unknown += 1;
            continue;
        };
        let state = status.state.as_ref();
        let ended = |s: Option<&k8s_openapi::api::core::v1::ContainerState>| s.and_then(|s| s.terminated.clone());
        if state.is_some_and(|s| s.running.is_some()) {
            counts.running += 1;
        } else if let Some(ended) = ended(state) {
            counts.stopped += 1;
            counts.succeeded += usize::from(ended.exit_code == 0);
            counts.may_restart += usize::from(pods::should_restart(pod, spec, ended.exit_code));
        } else if ended(status.last_state.as_ref()).is_some() {
            counts.stopped += 1;
            counts.may_restart += 1;
        } else {
            counts.waiting += 1;
        }
    }
}
