//! What the node knows of one pod: from the runtime, from probes and from its own attempts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::{Backoffs, Now};

/// Waits after a sandbox could not be made, doubling.
const SANDBOX_RETRY: SignedDuration = SignedDuration::from_secs(2);
const SANDBOX_RETRY_MAX: SignedDuration = SignedDuration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Init,
    App,
    Ephemeral,
}

/// A sandbox of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created: Now,
    /// Addresses of the pod, the primary one first. Empty for pods on the host's network.
    pub ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Created and not started: a start that was interrupted.
    Created,
    Running {
        started: Now,
    },
    Exited {
        started: Option<Now>,
        finished: Now,
        exit_code: i32,
        reason: String,
        message: String,
    },
    Unknown,
}

/// One incarnation of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// The restart count it was made with.
    pub attempt: u32,
    pub sandbox_id: String,
    /// As the runtime names it, and its reference (digest or id).
    pub image: String,
    pub image_id: String,
    pub created: Now,
    /// Of the part of the specification it was made from; differs when it must be made anew.
    pub hash: String,
    pub state: ContainerState,
}

impl Container {
    pub fn running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            ContainerState::Exited { exit_code, .. } => Some(exit_code),
            _ => None,
        }
    }
}

/// Why a container is not running, in the words of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// A start that failed. Cleared when one succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    pub waiting: Waiting,
    pub failed: Now,
    /// No further try before.
    pub retry: Now,
    /// Shown a few seconds later (`ErrImagePull` becomes `ImagePullBackOff`).
    pub while_backing_off: Option<Waiting>,
}

/// What the probes of a container say. Absent probes have no entry here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults {
    /// `None`: not known yet.
    pub startup: Option<bool>,
    pub readiness: Option<bool>,
    pub liveness: Option<bool>,
}

/// Everything known of one pod.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
    /// Containers being started or stopped at this moment, by name.
    pub in_flight: BTreeSet<String>,
    /// A sandbox is being made or ended, or the pod is being killed.
    pub pod_in_flight: bool,
    /// Volumes are mounted (or need no mounting).
    pub volumes_ready: bool,
    pub start_failures: BTreeMap<String, StartFailure>,
    /// When a sandbox could not be made: not again before. And how often that was in a row.
    pub sandbox_retry: Option<Now>,
    pub sandbox_failures: u32,
    /// When a container could not be stopped: not again before, by container id.
    pub stop_retries: BTreeMap<String, Now>,
    /// What waiting the last decision found (CrashLoopBackOff and so on), by container.
    pub waiting: BTreeMap<String, Waiting>,
    pub backoffs: Backoffs,
    /// By container id, so that a new incarnation starts unknown.
    pub probes: BTreeMap<String, ProbeResults>,
    /// Containers whose start is over, postStart hook included, by id. Sidecars hold up their successors until then.
    pub post_started: BTreeSet<String>,
    /// The kill of the pod has finished: nothing of it runs.
    pub killed: bool,
}

impl Observed {
    /// The sandbox to use now.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// The newest incarnation of a container.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The one before the newest.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.before(self.latest(name)?)
    }

    /// The incarnation before this one.
    pub fn before(&self, container: &Container) -> Option<&Container> {
        let mut same = self.containers.iter().filter(|c| c.name == container.name);
        same.find(|c| c.id == container.id)?;
        same.next()
    }

    /// Whether it runs and its postStart hook is not over: not running yet for anyone who asks.
    pub fn starting(&self, spec: &k8s_openapi::api::core::v1::Container, container: &Container) -> bool {
        let hook = spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        hook && container.running() && !self.post_started.contains(&container.id)
    }

    pub fn any_running(&self) -> bool {
        self.containers.iter().any(Container::running)
    }

    pub fn probes_of(&self, container: &Container) -> ProbeResults {
        self.probes.get(&container.id).copied().unwrap_or(ProbeResults {
            startup: None,
            readiness: None,
            liveness: None,
        })
    }

    /// A sandbox could not be made: the next try waits, the longer the oftener that was.
    pub fn sandbox_failed(&mut self, now: Now) {
        let wait = (SANDBOX_RETRY * (1 << self.sandbox_failures.min(10))).min(SANDBOX_RETRY_MAX);
        self.sandbox_failures = self.sandbox_failures.saturating_add(1);
        self.sandbox_retry = now.checked_add(wait).ok();
    }

    pub fn sandbox_made(&mut self) {
        self.sandbox_failures = 0;
        self.sandbox_retry = None;
    }

    /// A container did not stop: the next try waits.
    pub fn stop_failed(&mut self, id: &str, now: Now) {
        let delay = self.backoffs.next(&stop_key(id), now, now);
        self.stop_retries.insert(id.to_owned(), now.checked_add(delay).unwrap_or(now));
    }

    pub fn stopped(&mut self, id: &str) {
        self.backoffs.reset(&stop_key(id));
        self.stop_retries.remove(id);
    }

    /// Newest first, as the other functions expect.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|one| std::cmp::Reverse((one.created, one.attempt)));
        self.containers.sort_by_key(|one| std::cmp::Reverse((one.created, one.attempt)));
    }
}

fn stop_key(id: &str) -> String {
    format!("stop {id}")
}
