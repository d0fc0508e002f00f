//! The scheduler's loop: changes in, decisions out, many bindings in flight.

use std::sync::Arc;
use std::time::Duration;

use api_machinery::error::{Reason, Result};
use api_machinery::time;
use api_registry::Registry;
use controller_logic::meta::{Meta, selector};
use controller_logic::plan::{EventNote, PatchType, Regarding, Target};
use controller_logic::world::Changed;
use controller_logic::{Gvr, Kind};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scheduler::{Attempt, Decision, Pending, PodInfo, Scheduler};
use serde_json::json;
use store_api::Fence;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::events::Recorder;
use crate::{clock, metrics, workers};

/// Bindings and status writes in flight, at most.
const IN_FLIGHT: usize = 256;
/// Attempts between two looks at what has changed.
const ATTEMPTS_PER_TURN: usize = 32;
/// How often what has waited very long is woken, and gauges are set.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// What the loop is told. The list of waiting changes is bounded by the number of objects that change:
/// informers hand over each change once.
enum Told {
    Changed(Changed),
    /// A binding failed; the pod may be gone.
    NotBound {
        uid: Arc<str>,
        gone: bool,
    },
}

pub(crate) struct Scheduling {
    client: Client,
    recorder: Recorder,
    sender: mpsc::UnboundedSender<Told>,
    receiver: mpsc::UnboundedReceiver<Told>,
}

impl Scheduling {
    pub(crate) fn new(registry: &Arc<Registry>, fence: Option<Fence>, recorder: Recorder) -> Self {
        let user = api_machinery::UserInfo {
            name: "system:kube-scheduler".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..Default::default()
        };
        let client = Client::as_user(registry.clone(), user, "kube-scheduler", fence);
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { client, recorder, sender, receiver }
    }

    /// What informers call with every change.
    pub(crate) fn listener(&self) -> workers::Told {
        let sender = self.sender.clone();
        Arc::new(move |change| {
            if concerns(change.kind) {
                // The loop has ended: so has the leadership.
                let _ = sender.send(Told::Changed(change.clone()));
            }
        })
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { client, recorder, sender, mut receiver } = self;
        #[expect(clippy::disallowed_methods, reason = "the seed of the choice between equal nodes")]
        let mut random = SmallRng::seed_from_u64(rand::random());
        let outward = Arc::new(Outward { client, recorder, sender, room: Arc::new(Semaphore::new(IN_FLIGHT)) });
        let mut scheduler = Scheduler::default();
        let mut tidied = Instant::now();
        while !stop.is_cancelled() {
            while let Ok(told) = receiver.try_recv() {
                take_in(&mut scheduler, told);
            }
            let busy = turn(&mut scheduler, &outward, &mut random).await;
            if tidied.elapsed() >= HOUSEKEEPING {
                tidied = Instant::now();
                scheduler.flush(clock::now());
            }
            let sizes = scheduler.sizes();
            metrics::pending_pods(sizes.active, sizes.backoff, sizes.unschedulable, sizes.gated);
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                told = receiver.recv() => if let Some(told) = told { take_in(&mut scheduler, told) },
                () = tokio::time::sleep(until_ready(&scheduler)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

fn until_ready(scheduler: &Scheduler) -> Duration {
    let wait = scheduler.next_ready().map(|at| at.duration_since(clock::now()));
    wait.map_or(HOUSEKEEPING, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO)).min(HOUSEKEEPING)
}

/// Tries some pods; false when none is ready.
async fn turn(scheduler: &mut Scheduler, outward: &Arc<Outward>, random: &mut SmallRng) -> bool {
    for _ in 0..ATTEMPTS_PER_TURN {
        // No decision without room to carry it out: it would only grow old.
        let Ok(permit) = outward.room.clone().acquire_owned().await else { return false };
        let began = Instant::now();
        let Some(attempt) = scheduler.next(clock::now(), random.random()) else { return false };
        let result = match attempt.decision {
            Decision::Place { .. } => "scheduled",
            Decision::Unschedulable { .. } => "unschedulable",
        };
        metrics::scheduling_attempt(result, began.elapsed());
        let outward = outward.clone();
        tokio::spawn(async move {
            outward.carry_out(attempt).await;
            drop(permit);
        });
    }
    true
}

fn concerns(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Pod
            | Kind::Node
            | Kind::Namespace
            | Kind::Service
            | Kind::ReplicaSet
            | Kind::StatefulSet
            | Kind::ReplicationController
    )
}

fn take_in(scheduler: &mut Scheduler, told: Told) {
    let change = match told {
        Told::NotBound { uid, gone } => return scheduler.forget(&uid, gone),
        Told::Changed(change) => change,
    };
    let (key, now, view) = (&change.key, clock::now(), change.view());
    match change.kind {
        Kind::Pod => take_in_pod(scheduler, &change),
        Kind::Node => match view.current::<Node>() {
            Some(node) => scheduler.set_node(node, now),
            None => scheduler.remove_node(&key.name),
        },
        Kind::Namespace => scheduler.set_namespace(&key.name, view.current::<Namespace>()),
        Kind::Service => scheduler.set_service(&key.namespace, &key.name, view.current::<Service>()),
        Kind::ReplicaSet => {
            owner(scheduler, &change, |set: &ReplicaSet| set.spec.as_ref().map(|spec| spec.selector.clone()))
        }
        Kind::StatefulSet => {
            owner(scheduler, &change, |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.selector.clone()))
        }
        Kind::ReplicationController => owner(scheduler, &change, |own: &ReplicationController| {
            let labels = own.spec.as_ref()?.selector.clone();
            Some(LabelSelector { match_labels: labels, ..LabelSelector::default() })
        }),
        _ => {}
    }
}

fn take_in_pod(scheduler: &mut Scheduler, change: &Changed) {
    let (now, view) = (clock::now(), change.view());
    let old = view.old::<Pod>().map(|pod| pod.uid().to_owned());
    match change.new_arc::<Pod>() {
        Some(pod) => {
            if let Some(old) = old.filter(|old| old != pod.uid()) {
                scheduler.remove_pod(&old, now);
            }
            scheduler.set_pod(&pod, now);
        }
        None => scheduler.remove_pod(&old.unwrap_or_default(), now),
    }
}

fn owner<T: Meta + 'static>(scheduler: &mut Scheduler, change: &Changed, of: impl Fn(&T) -> Option<LabelSelector>) {
    let view = change.view();
    let Some(object) = view.any::<T>() else { return };
    let wanted = view.current::<T>().and_then(of).map(|own| selector(Some(&own)));
    scheduler.set_owner(object.uid(), wanted);
}

/// Carries decisions out.
struct Outward {
    client: Client,
    recorder: Recorder,
    sender: mpsc::UnboundedSender<Told>,
    room: Arc<Semaphore>,
}

const REPORTER: &str = scheduler::PROFILE;

impl Outward {
    async fn carry_out(&self, attempt: Attempt) {
        let Attempt { pending, decision } = attempt;
        match decision {
            Decision::Place { node, .. } => self.place(&pending, &node).await,
            Decision::Unschedulable { message, .. } => {
                self.note(&pending.pod, true, "FailedScheduling", message.clone());
                self.say_unschedulable(&pending.pod, "Unschedulable", &message).await;
            }
        }
    }

    async fn place(&self, pending: &Pending, node: &str) {
        let pod = &pending.pod;
        match self.bind(pod, node).await {
            Ok(()) => {
                metrics::scheduled_after(pending.attempts);
                let message = format!("Successfully assigned {} to {node}", pod.full_name());
                self.note(pod, false, "Scheduled", message);
            }
            Err(error) => {
                let gone = error.reason == Reason::NotFound;
                let _ = self.sender.send(Told::NotBound { uid: pod.uid.clone(), gone });
                if !gone {
                    metrics::scheduling_attempt("error", Duration::ZERO);
                    tracing::debug!(pod = pod.full_name(), node, %error, "a pod could not be bound");
                    self.note(pod, true, "FailedScheduling", format!("binding rejected: {error}"));
                    self.say_unschedulable(pod, "SchedulerError", &format!("binding rejected: {error}")).await;
                }
            }
        }
    }

    async fn bind(&self, pod: &PodInfo, node: &str) -> Result<()> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "namespace": &*pod.namespace, "name": &*pod.name, "uid": &*pod.uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        self.client.create(&target(pod), "binding", binding).await.map(|_| ())
    }

    /// The PodScheduled condition, when it does not say so already.
    async fn say_unschedulable(&self, pod: &PodInfo, reason: &str, message: &str) {
        let known = controller_logic::pods::condition(&pod.pod, "PodScheduled");
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        if known.is_some_and(|known| {
            known.status == "False" && text(&known.reason) == reason && text(&known.message) == message
        }) {
            return;
        }
        let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastProbeTime": null,
            "lastTransitionTime": time::seconds(since.map_or_else(clock::now, |time| time.0)),
        });
        let body = json!({ "metadata": { "uid": &*pod.uid }, "status": { "conditions": [condition] } });
        let written = self.client.patch(&target(pod), "status", PatchType::Strategic, body).await;
        if let Err(error) = written.map(|_| ()) {
            tracing::debug!(pod = pod.full_name(), %error, "the PodScheduled condition was not written");
        }
    }

    fn note(&self, pod: &PodInfo, warning: bool, reason: &'static str, message: String) {
        let regarding = Regarding::of(&*pod.pod);
        self.recorder.record(REPORTER, EventNote { regarding, warning, reason, message });
    }
}

fn target(pod: &PodInfo) -> Target {
    Target { gvr: Gvr::new("", "v1", "pods"), namespace: pod.namespace.clone(), name: pod.name.clone() }
}
