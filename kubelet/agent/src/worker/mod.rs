//! One task per pod: observes, asks `kubelet-core` what to do, has it done, tells the status.

mod act;
mod inbox;
mod pace;
mod upkeep;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use inbox::{Inbox, View};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubelet_core::admit::Rejection;
use kubelet_core::probe::ProbeKind;
use kubelet_core::status::NodeFacts;
use kubelet_core::termination::{self, Cause, Termination};
use kubelet_core::{Desired, Observed, pods, sync_pod};
use kubelet_cri::CriError;
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::Node;
use crate::observe::Observer;
use crate::start::{StartError, Started};
use crate::volumes::PodVolumes;
use crate::{cgroups, clock, logs};
use pace::{Pace, Then};

/// How long the API server may take to remove a pod before it is asked again.
const DELETE_AGAIN: Duration = Duration::from_secs(30);

/// How a task of the worker ended.
enum Done {
    Volumes(Result<(), String>),
    Sandbox(Result<(), String>),
    SandboxStopped,
    Started { name: String, result: Result<Started, StartError> },
    Stopped { name: String, id: String, result: Result<(), CriError> },
    Killed,
}

/// `refused`: the node does not take the pod, unless it turns out to be here already.
pub(crate) fn spawn(node: Arc<Node>, pod: Arc<Pod>, inbox: Arc<Inbox>, refused: Option<Rejection>) {
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
        hooked: BTreeSet::new(),
        volumes_at: None,
        volumes_busy: false,
        look_often: None,
        probes: HashMap::new(),
        wake: None,
        first_seen,
        synced: false,
        ran: false,
        deleted_at: None,
        cleaned: false,
        node,
        pod,
        inbox,
    };
    // Boxed: thousands of hollow pods must not each hold the largest state inline.
    tokio::spawn(Box::pin(worker.run(refused)));
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
    /// Containers that have been told to stop, by id: their preStop hook does not run again.
    hooked: BTreeSet<String>,
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
    /// When the API server was last asked to remove it.
    deleted_at: Option<tokio::time::Instant>,
    /// Its volumes are gone.
    cleaned: bool,
}

impl Worker {
    async fn run(mut self, refused: Option<Rejection>) {
        let stop = self.node.stop.clone();
        self.refresh().await;
        if let Some(refused) = refused {
            self.refuse(refused);
        }
        loop {
            if self.synced {
                self.step().await;
            }
            if self.gone && self.observed.killed {
                break;
            }
            let (wait, then) = self.pace();
            tokio::select! {
                () = stop.cancelled() => {
                    self.abandon();
                    return;
                }
                () = self.inbox.wake.notified() => self.hear().await,
                Some(done) = self.tasks.join_next() => self.done(done.ok()).await,
                () = tokio::time::sleep(wait) => if then == Then::Look {
                    self.refresh().await;
                },
            }
        }
        self.remove().await;
    }

    fn pace(&self) -> (Duration, Then) {
        let now = tokio::time::Instant::now();
        pace::next(&Pace {
            synced: self.synced,
            ending_soon: self.look_often.is_some_and(|until| now < until),
            volumes: self.volumes_wait(),
            wake: self.wake.map(clock::until),
        })
    }

    fn refuse(&mut self, refused: Rejection) {
        if !self.observed.sandboxes.is_empty() {
            self.node.take(&self.pod);
            return;
        }
        self.node.events.pod(&self.pod, None, false, refused.reason, refused.message.clone());
        let (reason, message) = (refused.reason.to_owned(), refused.status_message());
        let cause = Cause { reason, message, disruption: None, refused: true };
        self.termination = Some(Termination { grace: 0, reason: Some(cause) });
        self.observed.killed = true;
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
        if !self.ending() {
            self.termination = said.end;
        }
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
        self.keep_volumes();
        let desired = Desired { pod: &self.pod, terminating: self.termination.as_ref() };
        let actions = sync_pod(&desired, &self.observed, now);
        self.wake = termination::deadline(&self.pod, self.started_at()).filter(|_| !self.ending());
        let in_flight = self.observed.in_flight.clone();
        self.observed.waiting.retain(|name, _| in_flight.contains(name));
        self.hooked.retain(|id| self.observed.containers.iter().any(|c| c.id == *id));
        for action in actions {
            self.act(action, now).await;
        }
        self.keep_probes();
        self.tell(now);
        self.finish().await;
    }

    /// Whether all that is left to do is to end it.
    fn ending(&self) -> bool {
        self.termination.is_some() || self.observed.killed || pods::is_terminal(&self.pod)
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
            self.start_kill(grace);
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
            match self.volumes.lock().await.tear_down(&self.node, &self.pod).await {
                Ok(()) => self.cleaned = true,
                // Something is still mounted: the next look at the pod tries again.
                Err(error) => tracing::warn!(error, pod = pods::long_name(&self.pod), "removing volumes"),
            }
        }
        let due = |at: tokio::time::Instant| at.elapsed() >= DELETE_AGAIN;
        if self.pod.metadata.deletion_timestamp.is_some() && !self.gone && self.deleted_at.is_none_or(due) {
            self.deleted_at = Some(tokio::time::Instant::now());
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
        self.node.admitted.lock().remove(uid);
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
