//! One task per pod: observes, asks `kubelet-core` what to do, has it done, tells the status.

mod act;
mod inbox;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use inbox::{Inbox, View};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubelet_core::probe::ProbeKind;
use kubelet_core::status::NodeFacts;
use kubelet_core::termination::{self, Termination};
use kubelet_core::{Desired, Observed, pods, sync_pod};
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::Node;
use crate::observe::Observer;
use crate::start::{StartError, Started};
use crate::volumes::PodVolumes;
use crate::{cgroups, clock, logs};

/// How often a pod is looked at though nothing was heard of it.
const RESYNC: Duration = Duration::from_secs(60);
/// How often one looks after containers that are meant to end.
const LOOK_OFTEN: Duration = Duration::from_millis(100);
/// Wait before asking a runtime again that did not answer.
const UNSYNCED: Duration = Duration::from_millis(500);

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
        let said = self.inbox.take();
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
        self.inbox.show(view);
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
