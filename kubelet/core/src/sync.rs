//! What to do next for a pod: sandbox, init containers in order, then the others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use crate::observed::{Container, ContainerState, Kind, Observed, Sandbox, Waiting};
use crate::{Desired, Now, backoff, pods};

/// Dead incarnations kept of each container besides the newest (`kubectl logs --previous` reads them).
const DEAD_KEPT: usize = 1;

/// How long a failure is shown before it is called backing off.
const FAILURE_SHOWN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// One step. The agent takes them in this order; what it cannot start now it is told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends every container (sidecars last) and the sandbox, for good.
    KillPod {
        grace: i64,
    },
    /// Ends a sandbox that is of no more use, with what runs in it.
    StopSandbox {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
    CreateSandbox {
        attempt: u32,
    },
    /// Pulls the image if need be, creates and starts. `crashed`: when the incarnation before ended.
    StartContainer {
        kind: Kind,
        name: String,
        attempt: u32,
        crashed: Option<Now>,
    },
    StopContainer {
        id: String,
        name: String,
        grace: i64,
        reason: StopReason,
    },
    RemoveContainer {
        id: String,
    },
    /// The container does not start before `until`; this is why.
    Wait {
        name: String,
        waiting: Waiting,
        until: Now,
    },
    /// Something failed: decide again at `until`.
    Pause {
        until: Now,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    Liveness,
    Startup,
    Changed,
    /// The runtime does not know what it is.
    Unknown,
}

impl StopReason {
    /// As the `Killing` event says it.
    pub fn message(self, container: &str, restarts: bool) -> String {
        let why = match self {
            StopReason::Liveness => "failed liveness probe",
            StopReason::Startup => "failed startup probe",
            StopReason::Changed => "definition changed",
            StopReason::Unknown => "is in unknown state",
        };
        let then = if restarts { ", will be restarted" } else { "" };
        format!("Container {container} {why}{then}")
    }
}

/// What to do for a pod. Empty: nothing until something changes.
pub fn sync_pod(desired: &Desired<'_>, observed: &Observed, now: Now) -> Vec<Action> {
    let pod = desired.pod;
    if observed.killed || observed.pod_in_flight {
        return Vec::new();
    }
    if let Some(termination) = desired.terminating {
        return vec![Action::KillPod { grace: termination.grace }];
    }
    if finished(pod, observed) {
        // Also where nothing runs any more, as after a restart of the agent: only the end of a kill is an end.
        return vec![Action::KillPod { grace: pods::grace_seconds(pod) }];
    }
    let Some(sandbox) = observed.ready_sandbox() else {
        return make_sandbox(pod, observed, now);
    };
    let mut step = Step { pod, observed, sandbox, now, actions: Vec::new() };
    step.garbage();
    for (_, spec) in pods::all_containers(pod).iter().filter(|(kind, _)| *kind == Kind::Ephemeral) {
        step.ephemeral(spec);
    }
    if step.init() {
        for spec in pods::app_containers(pod) {
            step.app(spec);
        }
    }
    step.actions
}

/// Whether nothing of the pod will ever start again.
pub fn finished(pod: &Pod, observed: &Observed) -> bool {
    if pods::is_terminal(pod) {
        return true;
    }
    if init_failed(pod, observed) {
        return true;
    }
    let containers = pods::app_containers(pod);
    !containers.is_empty()
        && containers.iter().all(|spec| {
            observed
                .latest(&spec.name)
                .and_then(Container::exit_code)
                .is_some_and(|code| !pods::should_restart(pod, spec, code))
        })
}

/// An init container failed and is not tried again.
fn init_failed(pod: &Pod, observed: &Observed) -> bool {
    pods::init_containers(pod).iter().filter(|spec| !pods::is_sidecar(spec)).any(|spec| {
        let code = observed.latest(&spec.name).and_then(Container::exit_code);
        code.is_some_and(|code| code != 0 && !pods::should_restart(pod, spec, code))
    })
}

fn make_sandbox(pod: &Pod, observed: &Observed, now: Now) -> Vec<Action> {
    let Some(last) = observed.sandboxes.first() else {
        return create_sandbox(observed, 0, now);
    };
    let leftover = |s: &&Sandbox| observed.containers.iter().any(|c| c.sandbox_id == s.id && c.running());
    if let Some(dead) = observed.sandboxes.iter().find(leftover) {
        return vec![Action::StopSandbox { id: dead.id.clone() }];
    }
    let started_before = pods::app_containers(pod).iter().any(|c| observed.latest(&c.name).is_some());
    if pods::restart_policy(pod) == "Never" && started_before {
        return Vec::new();
    }
    create_sandbox(observed, last.attempt + 1, now)
}

fn create_sandbox(observed: &Observed, attempt: u32, now: Now) -> Vec<Action> {
    if !observed.volumes_ready {
        return Vec::new();
    }
    match observed.sandbox_retry {
        Some(until) if now < until => vec![Action::Pause { until }],
        _ => vec![Action::CreateSandbox { attempt }],
    }
}

struct Step<'a> {
    pod: &'a Pod,
    observed: &'a Observed,
    sandbox: &'a Sandbox,
    now: Now,
    actions: Vec<Action>,
}

impl Step<'_> {
    /// Old incarnations and empty old sandboxes go.
    fn garbage(&mut self) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for container in &self.observed.containers {
            let count = seen.entry(&container.name).or_default();
            *count += 1;
            if *count > 1 + DEAD_KEPT && !container.running() {
                self.actions.push(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        for sandbox in self.observed.sandboxes.iter().skip(1) {
            let used = self.observed.containers.iter().any(|c| c.sandbox_id == sandbox.id);
            if !sandbox.ready && !used {
                self.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
    }

    /// The newest incarnation, if it lives in the present sandbox.
    fn here(&self, name: &str) -> Option<&Container> {
        self.observed.latest(name).filter(|c| c.sandbox_id == self.sandbox.id)
    }

    /// Init containers one after another; `true`: the app containers may start.
    fn init(&mut self) -> bool {
        let pod = self.pod;
        let containers = pods::init_containers(pod);
        let initialized = pods::app_containers(pod).iter().any(|c| self.here(&c.name).is_some());
        // What comes before the last one that ever started is done, even if its remains are gone.
        let last_seen = containers.iter().rposition(|c| self.here(&c.name).is_some());
        for (index, spec) in containers.iter().enumerate() {
            let done_before = initialized || last_seen.is_some_and(|last| index < last);
            let passed = if pods::is_sidecar(spec) { self.sidecar(spec) } else { done_before || self.init_once(spec) };
            if !passed && !done_before {
                return false;
            }
        }
        true
    }

    /// A plain init container; `true`: done.
    fn init_once(&mut self, spec: &Spec) -> bool {
        match self.here(&spec.name).map(|c| (c, &c.state)) {
            Some((_, ContainerState::Exited { exit_code: 0, .. })) => return true,
            Some((_, ContainerState::Running { .. })) => {}
            Some((container, ContainerState::Unknown)) => {
                let (id, name) = (container.id.clone(), spec.name.clone());
                self.stop(id, name, pods::grace_seconds(self.pod), StopReason::Unknown);
            }
            _ => self.start(Kind::Init, spec),
        }
        false
    }

    /// A sidecar; `true`: up, so that the next may start.
    fn sidecar(&mut self, spec: &Spec) -> bool {
        let Some(container) = self.here(&spec.name) else {
            self.start(Kind::Init, spec);
            return false;
        };
        if !container.running() {
            self.start(Kind::Init, spec);
            return false;
        }
        let probes = self.observed.probes_of(container);
        let up =
            (spec.startup_probe.is_none() || probes.startup == Some(true)) && !self.observed.starting(spec, container);
        !self.stop_if_failing(spec, container.clone()) && up
    }

    fn app(&mut self, spec: &Spec) {
        let Some(container) = self.observed.latest(&spec.name).cloned() else {
            self.start(Kind::App, spec);
            return;
        };
        match container.state {
            ContainerState::Running { .. } => {
                self.stop_if_failing(spec, container);
            }
            ContainerState::Exited { exit_code, .. } => {
                if pods::should_restart(self.pod, spec, exit_code) {
                    self.start(Kind::App, spec);
                }
            }
            ContainerState::Created => self.start(Kind::App, spec),
            ContainerState::Unknown => {
                self.stop(container.id, container.name, pods::grace_seconds(self.pod), StopReason::Unknown);
            }
        }
    }

    /// Started once, never again.
    fn ephemeral(&mut self, spec: &Spec) {
        if self.observed.latest(&spec.name).is_none() {
            self.start(Kind::Ephemeral, spec);
        }
    }

    /// Whether a running container has to go: a probe failed or it is not what it should be.
    fn stop_if_failing(&mut self, spec: &Spec, container: Container) -> bool {
        let probes = self.observed.probes_of(&container);
        let (reason, grace) = if probes.startup == Some(false) {
            (StopReason::Startup, pods::probe_grace(self.pod, spec.startup_probe.as_ref()))
        } else if probes.liveness == Some(false) {
            (StopReason::Liveness, pods::probe_grace(self.pod, spec.liveness_probe.as_ref()))
        } else if !container.hash.is_empty() && container.hash != pods::container_hash(spec) {
            (StopReason::Changed, pods::grace_seconds(self.pod))
        } else {
            return false;
        };
        self.stop(container.id, container.name, grace, reason);
        true
    }

    fn stop(&mut self, id: String, name: String, grace: i64, reason: StopReason) {
        if self.observed.in_flight.contains(&name) {
            return;
        }
        match self.observed.stop_retries.get(&id) {
            Some(until) if self.now < *until => self.actions.push(Action::Pause { until: *until }),
            _ => self.actions.push(Action::StopContainer { id, name, grace, reason }),
        }
    }

    /// Starts a container, or waits for its time to come.
    fn start(&mut self, kind: Kind, spec: &Spec) {
        let name = spec.name.clone();
        if self.observed.in_flight.contains(&name) {
            return;
        }
        let latest = self.observed.latest(&name);
        let crashed = latest.and_then(|c| match c.state {
            ContainerState::Exited { finished, .. } => Some(finished),
            _ => None,
        });
        if let Some((waiting, until)) = self.waits(&name, crashed) {
            self.actions.push(Action::Wait { name, waiting, until });
            return;
        }
        let attempt = latest.map_or_else(|| restarts_told(self.pod, &name), |c| c.attempt + 1);
        self.actions.push(Action::StartContainer { kind, name, attempt, crashed });
    }

    fn waits(&self, name: &str, crashed: Option<Now>) -> Option<(Waiting, Now)> {
        if let Some(failure) = self.observed.start_failures.get(name).filter(|f| self.now < f.retry) {
            let shown = failure.failed.checked_add(FAILURE_SHOWN).unwrap_or(failure.retry).min(failure.retry);
            return Some(match &failure.while_backing_off {
                Some(waiting) if self.now >= shown => (waiting.clone(), failure.retry),
                Some(_) => (failure.waiting.clone(), shown),
                None => (failure.waiting.clone(), failure.retry),
            });
        }
        let (delay, until) = self.observed.backoffs.waiting(name, crashed?, self.now)?;
        let pod = pods::long_name(self.pod);
        let message = format!("back-off {} restarting failed container={name} pod={pod}", backoff::go_seconds(delay));
        Some((Waiting { reason: "CrashLoopBackOff".into(), message }, until))
    }
}

/// The number of the first incarnation on a runtime that has lost the earlier ones, as after a reboot.
fn restarts_told(pod: &Pod, name: &str) -> u32 {
    let Some(status) = &pod.status else { return 0 };
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let told = lists.into_iter().flatten().flatten().find(|s| s.name == name);
    let ran = told.filter(|s| s.container_id.as_deref().is_some_and(|id| !id.is_empty()));
    ran.and_then(|s| u32::try_from(s.restart_count).ok()).map_or(0, |count| count + 1)
}
