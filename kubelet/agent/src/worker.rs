//! One task per pod: observes, asks `kubelet-core` what to do, has it done, tells the status.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubelet_core::probe::ProbeKind;
use kubelet_core::status::NodeFacts;
use kubelet_core::termination::{self, Termination};
use kubelet_core::{Action, Desired, Kind, Observed, StopReason, Waiting, images, pods, sync_pod};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::Node;
use crate::observe::Observer;
use crate::start::{StartError, Started};
use crate::volumes::PodVolumes;
use crate::{cgroups, clock, kill, logs, probing, start};

/// How often a pod is looked at though nothing was heard of it.
const RESYNC: Duration = Duration::from_secs(60);
/// How often, and for how long, one looks after containers that are meant to end.
const LOOK_OFTEN: Duration = Duration::from_millis(100);
const LOOK_OFTEN_FOR: Duration = Duration::from_secs(3);
/// How often volumes of ConfigMaps, secrets and tokens are brought up to date.
const VOLUMES_EVERY: Duration = Duration::from_secs(30);
const VOLUMES_RETRY: Duration = Duration::from_secs(2);
/// Wait before asking a runtime again that did not answer.
const UNSYNCED: Duration = Duration::from_millis(500);
/// Wait after a sandbox could not be made.
const SANDBOX_RETRY: i64 = 2;

/// What others say to a worker. Never more than the newest of each thing.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<Said>,
    wake: Notify,
    view: Mutex<Option<Arc<View>>>,
}

#[derive(Default)]
struct Said {
    pod: Option<Arc<Pod>>,
    gone: bool,
    relist: bool,
    /// By container id and probe.
    probes: HashMap<(String, ProbeKind), bool>,
}

/// What the server side of the kubelet sees of a pod.
pub(crate) struct View {
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: PodStatus,
    /// Container ids by name, newest first.
    pub(crate) containers: Vec<(String, String, u32, bool)>,
    pub(crate) sandbox: Option<String>,
}

impl Inbox {
    fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.state.lock());
        self.wake.notify_one();
    }

    pub(crate) fn update(&self, pod: Arc<Pod>) {
        self.say(|said| said.pod = Some(pod));
    }

    pub(crate) fn gone(&self) {
        self.say(|said| said.gone = true);
    }

    pub(crate) fn relist(&self) {
        self.say(|said| said.relist = true);
    }

    pub(crate) fn probe(&self, container: &str, kind: ProbeKind, good: bool) {
        self.say(|said| {
            said.probes.insert((container.to_owned(), kind), good);
        });
    }

    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.lock().clone()
    }
}

/// How a task of the worker ended.
enum Done {
    Volumes(Result<(), String>),
    Sandbox(Result<(), String>),
    SandboxStopped,
    Started { name: String, result: Result<Started, StartError> },
    Stopped { name: String },
    Killed,
}

pub(crate) fn spawn(node: Arc<Node>, pod: Arc<Pod>, inbox: Arc<Inbox>) {
    let first_seen = clock::now();
    let worker = Worker {
        volumes: Arc::new(tokio::sync::Mutex::new(PodVolumes::default())),
        observer: Observer::default(),
        observed: Observed::default(),
        termination: None,
        gone: false,
        tasks: JoinSet::new(),
        start_task: None,
        kill_task: None,
        kill_grace: 0,
        volumes_at: None,
        volumes_busy: false,
        look_often: None,
        probes: HashMap::new(),
        wake: None,
        first_seen,
        synced: false,
        ran: false,
        deleted: false,
        cleaned: false,
        node,
        pod,
        inbox,
    };
    // Boxed: thousands of hollow pods must not each hold the largest state inline.
    tokio::spawn(Box::pin(worker.run()));
}

struct Worker {
    node: Arc<Node>,
    pod: Arc<Pod>,
    inbox: Arc<Inbox>,
    volumes: Arc<tokio::sync::Mutex<PodVolumes>>,
    observer: Observer,
    observed: Observed,
    termination: Option<Termination>,
    /// Removed from the API server.
    gone: bool,
    tasks: JoinSet<Done>,
    /// At most one container starts at a time, as in upstream.
    start_task: Option<(String, AbortHandle)>,
    kill_task: Option<AbortHandle>,
    kill_grace: i64,
    volumes_at: Option<tokio::time::Instant>,
    volumes_busy: bool,
    /// Until when containers are expected to end soon.
    look_often: Option<tokio::time::Instant>,
    probes: HashMap<(String, ProbeKind), AbortHandle>,
    /// When to decide again though nothing happens.
    wake: Option<Timestamp>,
    first_seen: Timestamp,
    /// What we know of the runtime is what it last was: without that nothing is decided.
    synced: bool,
    /// The pod's start has been counted.
    ran: bool,
    /// The API server has been asked to remove it.
    deleted: bool,
    /// Its volumes are gone.
    cleaned: bool,
}

impl Worker {
    async fn run(mut self) {
        let stop = self.node.stop.clone();
        self.refresh().await;
        self.admit();
        loop {
            if self.synced {
                self.step().await;
            }
            if self.gone && self.observed.killed {
                break;
            }
            let quiet = self.quiet();
            tokio::select! {
                () = stop.cancelled() => {
                    self.abandon();
                    return;
                }
                () = self.inbox.wake.notified() => self.hear().await,
                Some(done) = self.tasks.join_next() => self.done(done.ok()).await,
                () = sleep_until(self.wake) => {}
                () = tokio::time::sleep(quiet) => self.refresh().await,
                () = tokio::time::sleep(UNSYNCED), if !self.synced => self.refresh().await,
            }
        }
        self.remove().await;
    }

    /// How long to wait for news before looking for oneself.
    fn quiet(&self) -> Duration {
        let soon = self.look_often.is_some_and(|until| tokio::time::Instant::now() < until);
        if soon { LOOK_OFTEN } else { RESYNC.min(self.volumes_wait()) }
    }

    /// A pod that is new here may be refused.
    fn admit(&mut self) {
        let status = self.pod.status.as_ref();
        let new = status.is_none_or(|s| s.container_statuses.is_none() && s.start_time.is_none());
        if !new || !self.observed.sandboxes.is_empty() || self.pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        if let Err(rejection) = self.node.admit(&self.pod) {
            self.node.events.pod(&self.pod, None, false, "FailedAdmission", rejection.message.clone());
            self.termination = Some(Termination { grace: 0, reason: Some((rejection.reason, rejection.message)) });
            self.observed.killed = true;
        }
    }

    /// The agent ends; the pod does not.
    fn abandon(&mut self) {
        self.probes.values().for_each(AbortHandle::abort);
        self.tasks.abort_all();
    }

    async fn hear(&mut self) {
        let said = std::mem::take(&mut *self.inbox.state.lock());
        if let Some(pod) = said.pod {
            self.pod = pod;
        }
        self.gone |= said.gone;
        for ((id, kind), good) in said.probes {
            let results = self.observed.probes.entry(id).or_default();
            match kind {
                ProbeKind::Startup => results.startup = Some(good),
                ProbeKind::Readiness => results.readiness = Some(good),
                ProbeKind::Liveness => results.liveness = Some(good),
            }
        }
        if said.relist {
            self.refresh().await;
        }
    }

    /// Asks the runtime about this pod.
    async fn refresh(&mut self) {
        let refreshed = self.observer.refresh(&self.node, &self.pod, &mut self.observed).await;
        self.synced = refreshed.is_ok();
        if let Err(error) = refreshed {
            tracing::debug!(%error, pod = pods::long_name(&self.pod), "asking the runtime about a pod");
        }
    }

    /// Decides and acts once.
    async fn step(&mut self) {
        let now = clock::now();
        self.decide_termination(now);
        let terminal = self.termination.is_some() || self.observed.killed;
        if !terminal && !pods::is_terminal(&self.pod) {
            self.keep_volumes();
        }
        let desired = Desired { pod: &self.pod, terminating: self.termination.as_ref() };
        let actions = sync_pod(&desired, &self.observed, now);
        self.wake = termination::deadline(&self.pod, self.started_at()).filter(|_| !terminal);
        let in_flight = self.observed.in_flight.clone();
        self.observed.waiting.retain(|name, _| in_flight.contains(name));
        for action in actions {
            self.act(action, now).await;
        }
        self.keep_probes();
        self.tell(now);
        self.finish().await;
    }

    fn started_at(&self) -> Option<Timestamp> {
        self.pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or(Some(self.first_seen), |t| Some(t.0))
    }

    fn decide_termination(&mut self, now: Timestamp) {
        let mut decided = termination::decide(&self.pod, self.started_at(), now);
        if self.gone && decided.is_none() {
            decided = Some(Termination { grace: pods::grace_seconds(&self.pod), reason: None });
        }
        match (&mut self.termination, decided) {
            (Some(present), Some(new)) => {
                // A second deletion may only shorten the grace.
                present.grace = present.grace.min(new.grace);
                present.reason = present.reason.take().or(new.reason);
            }
            (present @ None, Some(new)) => *present = Some(new),
            (_, None) => {}
        }
        let shorter = self.termination.as_ref().map(|t| t.grace).filter(|grace| *grace < self.kill_grace);
        if let (Some(grace), Some(task)) = (shorter, self.kill_task.take()) {
            task.abort();
            self.start_kill(grace, true);
        }
    }

    async fn act(&mut self, action: Action, now: Timestamp) {
        match action {
            Action::KillPod { grace } => {
                if let Some((_, task)) = self.start_task.take() {
                    task.abort();
                }
                self.start_kill(grace, false);
            }
            Action::CreateSandbox { attempt } => {
                self.observed.pod_in_flight = true;
                let (node, pod) = (self.node.clone(), self.pod.clone());
                self.tasks.spawn(async move { Done::Sandbox(start::sandbox(&node, &pod, attempt).await) });
            }
            Action::StopSandbox { id } => {
                self.observed.pod_in_flight = true;
                let (node, pod) = (self.node.clone(), self.pod.clone());
                self.node.events.pod(
                    &pod,
                    None,
                    true,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.".into(),
                );
                self.tasks.spawn(async move {
                    if let Err(error) = node.runtime.stop_pod_sandbox(&id).await {
                        tracing::warn!(%error, sandbox = id, "stopping a sandbox");
                    }
                    Done::SandboxStopped
                });
            }
            Action::RemoveSandbox { id } => {
                if let Err(error) = self.node.runtime.remove_pod_sandbox(&id).await {
                    tracing::debug!(%error, sandbox = id, "removing a sandbox");
                }
                self.refresh().await;
            }
            Action::RemoveContainer { id } => {
                if let Err(error) = self.node.runtime.remove_container(&id).await {
                    tracing::debug!(%error, container = id, "removing a container");
                }
                self.observed.containers.retain(|c| c.id != id);
            }
            Action::StartContainer { kind, name, attempt, crashed } => self.start(kind, name, attempt, crashed, now),
            Action::StopContainer { id, name, grace, reason } => self.stop(id, name, grace, reason),
            Action::Wait { name, waiting, until } => self.wait(name, waiting, until),
        }
    }

    fn wait(&mut self, name: String, waiting: Waiting, until: Timestamp) {
        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
        if name.is_empty() {
            return;
        }
        let backing_off = waiting.reason == "CrashLoopBackOff" || waiting.reason == "ImagePullBackOff";
        if backing_off && self.shown(&name) != Some(waiting.reason.as_str()) {
            let kind = pods::find_container(&self.pod, &name).map_or(Kind::App, |(kind, _)| kind);
            let message = if waiting.reason == "CrashLoopBackOff" {
                format!("Back-off restarting failed container {name} in pod {}", pods::long_name(&self.pod))
            } else {
                waiting.message.split(": ErrImagePull").next().unwrap_or("").to_owned()
            };
            self.node.events.pod(&self.pod, Some((kind, &name)), false, "BackOff", message);
        }
        self.observed.waiting.insert(name, waiting);
    }

    /// The waiting reason last told of a container.
    fn shown(&self, name: &str) -> Option<&str> {
        self.observer.told_waiting.get(name).map(String::as_str)
    }

    fn start(&mut self, kind: Kind, name: String, attempt: u32, crashed: Option<Timestamp>, now: Timestamp) {
        let Some(sandbox) = self.observed.ready_sandbox().cloned() else { return };
        if self.start_task.is_some() || !self.node.services_known.is_cancelled() {
            if self.start_task.is_none() {
                self.wake = now.checked_add(jiff::SignedDuration::from_millis(50)).ok();
            }
            return;
        }
        if let Some(ended) = crashed {
            self.observed.backoffs.next(&name, ended, now);
        }
        self.observed.in_flight.insert(name.clone());
        let (node, pod, volumes) = (self.node.clone(), self.pod.clone(), self.volumes.clone());
        let wanted = name.clone();
        let task = self.tasks.spawn(async move {
            let request = start::Request { kind, name: wanted.clone(), attempt, sandbox };
            let result = start::container(&node, &pod, &volumes, request).await;
            Done::Started { name: wanted, result }
        });
        self.start_task = Some((name, task));
    }

    fn stop(&mut self, id: String, name: String, grace: i64, reason: StopReason) {
        self.observed.in_flight.insert(name.clone());
        let Some((kind, spec)) = pods::find_container(&self.pod, &name) else { return };
        let restarts = kind == Kind::Init || pods::should_restart(&self.pod, &spec, 137);
        self.node.events.pod(&self.pod, Some((kind, &name)), true, "Killing", reason.message(&name, restarts));
        let (node, pod) = (self.node.clone(), self.pod.clone());
        self.tasks.spawn(async move {
            kill::container(&node, &pod, &spec, &id, Duration::from_secs(grace.max(0) as u64), false).await;
            Done::Stopped { name }
        });
    }

    fn start_kill(&mut self, grace: i64, hooks_ran: bool) {
        self.observed.pod_in_flight = true;
        self.kill_grace = grace;
        self.probes.retain(|(_, kind), task| {
            // Readiness goes on: a pod that ends gracefully still says whether it serves.
            let keep = *kind == ProbeKind::Readiness;
            if !keep {
                task.abort();
            }
            keep
        });
        let (node, pod, observed) = (self.node.clone(), self.pod.clone(), self.observed.clone());
        let grace = Duration::from_secs(grace.max(0) as u64);
        let task = self.tasks.spawn(async move {
            kill::pod(&node, &pod, &observed, grace, hooks_ran).await;
            Done::Killed
        });
        self.kill_task = Some(task);
    }

    async fn done(&mut self, done: Option<Done>) {
        let now = clock::now();
        match done {
            // Aborted, because something else took its place.
            None => {}
            Some(Done::Volumes(result)) => self.volumes_done(result),
            Some(Done::Sandbox(result)) => {
                self.observed.pod_in_flight = false;
                self.observed.sandbox_retry = None;
                if let Err(error) = result {
                    let message = format!("Failed to create pod sandbox: {error}");
                    self.node.events.pod(&self.pod, None, false, "FailedCreatePodSandBox", message);
                    self.observed.sandbox_retry = now.checked_add(jiff::SignedDuration::from_secs(SANDBOX_RETRY)).ok();
                }
            }
            Some(Done::SandboxStopped) => self.observed.pod_in_flight = false,
            Some(Done::Started { name, result }) => self.started(name, result, now),
            Some(Done::Stopped { name }) => {
                self.observed.in_flight.remove(&name);
            }
            Some(Done::Killed) => {
                self.observed.pod_in_flight = false;
                self.observed.killed = true;
                self.kill_task = None;
                self.probes.drain().for_each(|(_, task)| task.abort());
            }
        }
        self.refresh().await;
    }

    fn started(&mut self, name: String, result: Result<Started, StartError>, now: Timestamp) {
        self.observed.in_flight.remove(&name);
        self.start_task = None;
        let image = pods::find_container(&self.pod, &name).and_then(|(_, c)| c.image).unwrap_or_default();
        match result {
            Ok(started) => {
                images::pull_succeeded(&mut self.observed.backoffs, &image);
                self.observed.start_failures.remove(&name);
                self.observed.waiting.remove(&name);
                self.observed.post_started.insert(started.id);
                let kind = pods::find_container(&self.pod, &name).map(|(kind, _)| kind);
                let ends = kind == Some(Kind::Init) || pods::restart_policy(&self.pod) != "Always";
                self.look_often = (ends && !self.node.hollow).then(|| tokio::time::Instant::now() + LOOK_OFTEN_FOR);
            }
            Err(StartError::Pull(error)) => {
                let failure = images::pull_failed(&mut self.observed.backoffs, &image, &error, now);
                self.observed.start_failures.insert(name, failure);
            }
            Err(StartError::Other { reason, message }) => {
                self.observed.start_failures.insert(name, images::start_failed(reason, &message, now));
            }
        }
    }

    fn volumes_wait(&self) -> Duration {
        let done = self.termination.is_some() || self.observed.killed || self.volumes_busy || self.node.hollow;
        if done {
            RESYNC
        } else {
            self.volumes_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(tokio::time::Instant::now()))
        }
    }

    fn keep_volumes(&mut self) {
        if self.node.hollow {
            self.observed.volumes_ready = true;
            return;
        }
        if self.volumes_busy || self.volumes_at.is_some_and(|at| tokio::time::Instant::now() < at) {
            return;
        }
        self.volumes_busy = true;
        let (node, pod, volumes) = (self.node.clone(), self.pod.clone(), self.volumes.clone());
        let ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let first = !self.observed.volumes_ready;
        self.tasks.spawn(async move { Done::Volumes(volumes.lock().await.set_up(&node, &pod, &ips, first).await) });
    }

    fn volumes_done(&mut self, result: Result<(), String>) {
        self.volumes_busy = false;
        let next = match result {
            Ok(()) => {
                self.observed.volumes_ready = true;
                VOLUMES_EVERY
            }
            Err(message) => {
                self.node.events.pod(&self.pod, None, false, "FailedMount", message);
                if self.observed.volumes_ready { VOLUMES_EVERY } else { VOLUMES_RETRY }
            }
        };
        self.volumes_at = Some(tokio::time::Instant::now() + next);
    }

    /// One task per probe of each running container.
    fn keep_probes(&mut self) {
        if self.observed.killed {
            return;
        }
        let terminating = self.termination.is_some();
        let mut wanted = Vec::new();
        for (kind, spec) in pods::all_containers(&self.pod) {
            if kind == Kind::Ephemeral || kind == Kind::Init && !pods::is_sidecar(&spec) {
                continue;
            }
            let Some(container) = self.observed.latest(&spec.name).filter(|c| c.running()) else { continue };
            let kubelet_core::ContainerState::Running { started } = container.state else { continue };
            let results = self.observed.probes_of(container);
            let is_started = spec.startup_probe.is_none() || results.startup == Some(true);
            for probe in ProbeKind::ALL {
                let timely =
                    if probe == ProbeKind::Startup { !is_started && results.startup.is_none() } else { is_started };
                let ended = terminating && probe != ProbeKind::Readiness;
                let failed = probe == ProbeKind::Liveness && results.liveness == Some(false);
                if probe.of(&spec).is_some() && timely && !ended && !failed {
                    wanted.push(((container.id.clone(), probe), spec.clone(), started));
                }
            }
        }
        self.probes.retain(|key, task| {
            let keep = wanted.iter().any(|(k, _, _)| k == key);
            if !keep {
                task.abort();
            }
            keep
        });
        let ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        for (key, spec, started) in wanted {
            if self.probes.contains_key(&key) {
                continue;
            }
            let job = probing::Job {
                node: self.node.clone(),
                pod: self.pod.clone(),
                container: spec,
                container_id: key.0.clone(),
                kind: key.1,
                pod_ip: ips.first().cloned().unwrap_or_else(|| self.node.config.node_ip.to_string()),
                inbox: self.inbox.clone(),
            };
            let task = tokio::spawn(probing::run(job, started)).abort_handle();
            self.probes.insert(key, task);
        }
    }

    fn tell(&mut self, now: Timestamp) {
        let desired = Desired { pod: &self.pod, terminating: self.termination.as_ref() };
        let host_ip = self.node.config.node_ip.to_string();
        let facts = NodeFacts { host_ip: &host_ip, runtime_name: &self.node.runtime_name, start_time: self.first_seen };
        let status = kubelet_core::pod_status(&desired, &self.observed, &facts, now);
        if !self.ran && status.phase.as_deref() == Some("Running") {
            self.ran = true;
            let created = self.pod.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
            let took = now.duration_since(created.min(now)).as_secs_f64();
            metrics::histogram!("kubelet_pod_start_total_duration_seconds").record(took);
            metrics::histogram!("kubelet_pod_start_duration_seconds")
                .record(now.duration_since(self.first_seen).as_secs_f64());
        }
        self.observer.told_waiting = waiting_reasons(&status);
        let containers = self.observed.containers.iter();
        let view = View {
            pod: self.pod.clone(),
            containers: containers.map(|c| (c.name.clone(), c.id.clone(), c.attempt, c.running())).collect(),
            sandbox: self.observed.ready_sandbox().map(|s| s.id.clone()),
            status: status.clone(),
        };
        *self.inbox.view.lock() = Some(Arc::new(view));
        // Hollow pods come by thousands: only what they settle on is told.
        let settling = self.node.hollow && (self.observed.pod_in_flight || !self.observed.in_flight.is_empty());
        if !self.gone && !settling {
            self.node.statuses.report(&self.pod, &status);
        }
    }

    /// Once nothing runs any more: volumes go, then the API object, if it is being deleted.
    async fn finish(&mut self) {
        if !self.observed.killed {
            return;
        }
        if !self.cleaned {
            self.tasks.abort_all();
            if let Err(error) = self.volumes.lock().await.tear_down(&self.node, &self.pod).await {
                tracing::warn!(error, pod = pods::long_name(&self.pod), "removing volumes");
            }
            self.cleaned = true;
        }
        if self.pod.metadata.deletion_timestamp.is_some() && !self.deleted && !self.gone {
            self.deleted = true;
            self.node.statuses.delete(&self.pod);
        }
    }

    /// The object is gone and nothing runs: what is left on the node goes too.
    async fn remove(&mut self) {
        let (_, _, uid) = pods::identity(&self.pod);
        for sandbox in &self.observed.sandboxes {
            if let Err(error) = self.node.runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(%error, sandbox = sandbox.id, "removing a sandbox");
            }
        }
        self.node.statuses.forget(uid);
        if !self.node.hollow {
            logs::remove(&self.node, &self.pod);
            cgroups::remove(&self.node.config.cgroup_root, &self.pod);
        }
        self.node.workers.lock().remove(uid);
    }
}

fn waiting_reasons(status: &PodStatus) -> HashMap<String, String> {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let all = lists.into_iter().flatten().flatten();
    let reason = |s: &k8s_openapi::api::core::v1::ContainerStatus| {
        let waiting = s.state.as_ref()?.waiting.as_ref()?;
        Some((s.name.clone(), waiting.reason.clone()?))
    };
    all.filter_map(reason).collect()
}

async fn sleep_until(time: Option<Timestamp>) {
    match time {
        // A little later than asked, so that the time has come whatever the clocks' grain.
        Some(time) => tokio::time::sleep(clock::until(time) + Duration::from_millis(5)).await,
        None => std::future::pending().await,
    }
}
