//! ReplicaSets: as many pods as asked for.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::controller::{Context, Controller, Failure};
use crate::controllers::claim::{self, Claim};
use crate::meta::{Meta, selector, time};
use crate::plan::{Action, DeleteOptions, Gvr, Plan, Regarding, Report, Step, Target, to_value};
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct ReplicaSetController;

/// Pods created or deleted by one plan, at most, as upstream.
const BURST: usize = 500;
/// Counts as cheaper to delete.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

impl Controller for ReplicaSetController {
    fn name(&self) -> &'static str {
        "replicaset"
    }
    fn account(&self) -> &'static str {
        "replicaset-controller"
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::ReplicaSet => change.any::<ReplicaSet>().map(Key::of).into_iter().collect(),
            Kind::Pod => claim::keys_of_pod(change, "ReplicaSet", |pod| {
                let sets = world.replica_sets.of_namespace(pod.namespace());
                let matching = sets.filter(|set| selector(Some(&spec(set).selector)).matches_map(pod.labels()));
                matching.map(|set| Key::of(&**set)).collect()
            }),
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        match world.replica_sets.at(key) {
            Some(set) => reconcile(world, set, context),
            None => Plan::nothing(),
        }
    }
}

fn spec(set: &ReplicaSet) -> &k8s_openapi::api::apps::v1::ReplicaSetSpec {
    static NONE: std::sync::LazyLock<k8s_openapi::api::apps::v1::ReplicaSetSpec> =
        std::sync::LazyLock::new(Default::default);
    set.spec.as_ref().unwrap_or(&NONE)
}

fn reconcile(world: &World, set: &Arc<ReplicaSet>, context: &Context<'_>) -> Plan {
    let mut plan = Plan::nothing();
    let Claim { owned, actions } = claim::claim(world, &**set, &selector(Some(&spec(set).selector)));
    if !actions.is_empty() {
        plan.steps.push(Step::Together(actions));
    }
    let terminating = owned.iter().filter(|pod| pod.is_deleting() && !pods::is_terminal(pod)).count();
    let active: Vec<_> = owned.into_iter().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(spec(set).replicas.unwrap_or(1)).unwrap_or(0);
    let status = status(set, &active, terminating, wanted, context);
    let mut new = ReplicaSet::clone(set);
    new.status = Some(status);
    plan.change(&**set, &new, "status");
    if !set.is_deleting() {
        plan.steps.extend(manage(world, set, &active, wanted));
    }
    let waits = active.iter().filter_map(|pod| pods::until_available(pod, min_ready(set), context.now));
    if let Some(soonest) = waits.filter(|wait| !wait.is_zero()).min() {
        plan.requeue(soonest + Duration::from_millis(10));
    }
    plan
}

fn min_ready(set: &ReplicaSet) -> i32 {
    spec(set).min_ready_seconds.unwrap_or(0)
}

fn manage(world: &World, set: &Arc<ReplicaSet>, active: &[Arc<Pod>], wanted: usize) -> Option<Step> {
    match active.len().cmp(&wanted) {
        Ordering::Equal => None,
        Ordering::Less => Some(create_pods(set, (wanted - active.len()).min(BURST))),
        Ordering::Greater => {
            let count = (active.len() - wanted).min(BURST);
            let victims = to_delete(active, count, &related_pods(world, set));
            Some(Step::Together(victims.iter().map(|pod| delete_pod(&**set, pod)).collect()))
        }
    }
}

fn create_pods(set: &ReplicaSet, count: usize) -> Step {
    let template = spec(set).template.as_ref();
    Step::SlowStart(vec![create_pod(set, template, set.controller_reference()); count])
}

/// A pod from a template, named by the server after its owner.
pub(crate) fn create_pod<T: Meta>(owner: &T, template: Option<&PodTemplateSpec>, reference: OwnerReference) -> Action {
    let template = template.cloned().unwrap_or_default();
    let labels = template.metadata.unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            namespace: Some(owner.namespace().to_owned()),
            generate_name: Some(pod_prefix(owner.name())),
            labels: labels.labels,
            annotations: labels.annotations,
            finalizers: labels.finalizers,
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let report = Report {
        regarding: Regarding::of(owner),
        done: Some(("SuccessfulCreate", "Created pod: ")),
        failed: ("FailedCreate", "Error creating: ".into()),
    };
    let target = Target::new(Gvr::of::<Pod>(), owner.namespace(), "");
    Action::Create { target, object: to_value(&pod), report: Some(report), existing_is_fine: false }
}

/// Upstream leaves the dash out when the name with it is no valid prefix; names are at most 253 long here.
fn pod_prefix(owner: &str) -> String {
    if owner.len() < 253 { format!("{owner}-") } else { owner.to_owned() }
}

pub(crate) fn delete_pod<T: Meta>(owner: &T, pod: &Pod) -> Action {
    let options = DeleteOptions { uid: pod.uid().to_owned(), ..DeleteOptions::default() };
    let report = Report {
        regarding: Regarding::of(owner),
        done: Some(("SuccessfulDelete", "Deleted pod: ")),
        failed: ("FailedDelete", "Error deleting: ".into()),
    };
    Action::Delete { target: Target::of(pod), options, report: Some(report) }
}

/// How many active pods of the same family (all sets of the same Deployment) are on each node.
fn related_pods(world: &World, set: &Arc<ReplicaSet>) -> HashMap<String, usize> {
    let family: Vec<_> = match set.controller() {
        Some(owner) => world.replica_sets.controlled_by(&owner.uid).collect(),
        None => vec![set],
    };
    let mut counts = HashMap::new();
    for set in family {
        for pod in world.pods.controlled_by(set.uid()).filter(|pod| pods::is_active(pod)) {
            *counts.entry(pods::node_name(pod).to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The pods that cost least to lose, in upstream's order.
fn to_delete(active: &[Arc<Pod>], count: usize, on_node: &HashMap<String, usize>) -> Vec<Arc<Pod>> {
    let mut ranked: Vec<_> = active.to_vec();
    let now =
        active.iter().filter_map(|pod| pods::ready_since(pod)).chain(active.iter().map(|pod| pod.created())).max();
    ranked.sort_by(|left, right| cheaper(left, right, on_node, now.unwrap_or(Timestamp::UNIX_EPOCH)));
    ranked.truncate(count);
    ranked
}

fn phase_order(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "" | "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotation(DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// `Less` when `left` is to be deleted before `right`.
fn cheaper(left: &Pod, right: &Pod, on_node: &HashMap<String, usize>, newest: Timestamp) -> Ordering {
    let crowd = |pod: &Pod| on_node.get(pods::node_name(pod)).copied().unwrap_or(0);
    let assigned = |pod: &Pod| !pods::node_name(pod).is_empty();
    assigned(left)
        .cmp(&assigned(right))
        .then_with(|| phase_order(left).cmp(&phase_order(right)))
        .then_with(|| pods::is_ready(left).cmp(&pods::is_ready(right)))
        .then_with(|| deletion_cost(left).cmp(&deletion_cost(right)))
        .then_with(|| crowd(right).cmp(&crowd(left)))
        .then_with(|| younger(pods::ready_since(left), pods::ready_since(right), newest))
        .then_with(|| pods::restarts(right).cmp(&pods::restarts(left)))
        .then_with(|| younger(Some(left.created()), Some(right.created()), newest))
        .then_with(|| left.uid().cmp(right.uid()))
}

/// The younger first, where ages count by their order of magnitude (base 2), as upstream's logarithmic scale-down.
fn younger(left: Option<Timestamp>, right: Option<Timestamp>, newest: Timestamp) -> Ordering {
    let magnitude = |at: Timestamp| newest.duration_since(at).as_secs().max(0).checked_ilog2().map_or(0, |log| log + 1);
    match (left, right) {
        (Some(left), Some(right)) => magnitude(left).cmp(&magnitude(right)),
        _ => Ordering::Equal,
    }
}

fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    wanted: usize,
    context: &Context<'_>,
) -> ReplicaSetStatus {
    let labels = spec(set).template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let count = |keep: &dyn Fn(&Pod) -> bool| count32(active.iter().filter(|pod| keep(pod)).count());
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: count32(active.len()),
        fully_labeled_replicas: some(count(&|pod| {
            labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
        })),
        ready_replicas: some(count(&|pod| pods::is_ready(pod))),
        available_replicas: some(count(&|pod| pods::is_available(pod, min_ready(set), context.now))),
        terminating_replicas: Some(count32(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(
            old.conditions.unwrap_or_default(),
            context.failure,
            active.len() != wanted,
            context.now,
        ),
    }
}

pub(crate) fn count32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Zero is left out, as upstream encodes these.
pub(crate) fn some(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// `ReplicaFailure` is there while creating or deleting pods fails.
fn conditions(
    mut list: Vec<ReplicaSetCondition>,
    failure: Option<&Failure>,
    still_differs: bool,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let failure = failure.filter(|failure| still_differs && !failure.reason.is_empty());
    let present = list.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some(failure) if !present => list.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(time(now)),
        }),
        None => list.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(_) => {}
    }
    (!list.is_empty()).then_some(list)
}
