//! PodDisruptionBudgets: how many pods may be evicted now.
//!
//! The eviction of a pod spends from the same status that is computed here. So the status is written as a whole and
//! only over the version it was computed from: what was spent meanwhile is never given back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::labels::Selector;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controller::{Context, Controller};
use crate::meta::{Meta, scaled, selector, time};
use crate::plan::{Action, Plan, Target, to_value};
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct DisruptionController;

/// A pod whose eviction was allowed and that is not being deleted after this time stays, as upstream assumes.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

impl Controller for DisruptionController {
    fn name(&self) -> &'static str {
        "disruption"
    }
    fn account(&self) -> &'static str {
        "disruption-controller"
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::PodDisruptionBudget => change.current::<PodDisruptionBudget>().map(Key::of).into_iter().collect(),
            Kind::Pod => keys_of_pod(world, change),
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        match world.pod_disruption_budgets.at(key) {
            Some(budget) => reconcile(world, budget, context.now),
            None => Plan::nothing(),
        }
    }
}

/// The budgets that cover the pod as it was or as it is.
fn keys_of_pod(world: &World, change: &Change<'_>) -> Vec<Key> {
    let Some(namespace) = change.any::<Pod>().map(Meta::namespace) else { return Vec::new() };
    let covers = |budget: &PodDisruptionBudget| {
        let selector = pods_of(budget);
        change.both::<Pod>().any(|pod| selector.matches_map(pod.labels()))
    };
    let budgets = world.pod_disruption_budgets.of_namespace(namespace);
    budgets.filter(|budget| covers(budget)).map(|budget| Key::of(&**budget)).collect()
}

fn spec(budget: &PodDisruptionBudget) -> &PodDisruptionBudgetSpec {
    static NONE: std::sync::LazyLock<PodDisruptionBudgetSpec> = std::sync::LazyLock::new(Default::default);
    budget.spec.as_ref().unwrap_or(&NONE)
}

fn pods_of(budget: &PodDisruptionBudget) -> Selector {
    selector(spec(budget).selector.as_ref())
}

fn reconcile(world: &World, budget: &Arc<PodDisruptionBudget>, now: Timestamp) -> Plan {
    let selector = pods_of(budget);
    let covered = world.pods.of_namespace(budget.namespace()).filter(|pod| selector.matches_map(pod.labels()));
    let covered: Vec<_> = covered.collect();
    let mut plan = Plan::nothing();
    let expected = match expected(world, budget, &covered) {
        Ok(expected) => expected,
        Err(why) => {
            if write(&mut plan, budget, failed(budget, &why, now)) {
                let why = format!("Failed to calculate the number of expected pods: {why}");
                plan.warn(&**budget, "CalculateExpectedPodCountFailed", why);
            }
            return plan;
        }
    };
    let disrupted = disrupted(&mut plan, budget, &covered, now);
    let healthy =
        covered.iter().filter(|pod| !pod.is_deleting() && !disrupted.contains_key(pod.name()) && pods::is_ready(pod));
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let soonest = disrupted.values().map(|since| since.0 + DELETION_TIMEOUT).min();
    if write(&mut plan, budget, status(budget, &expected, healthy, disrupted, now)) {
        explain(&mut plan, budget, covered.is_empty(), expected.unmanaged);
    }
    if let Some(at) = soonest {
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
        plan.requeue(wait + Duration::from_secs(1));
    }
    plan
}

/// Said when the status changes, and not at every look.
fn explain(plan: &mut Plan, budget: &PodDisruptionBudget, no_pods: bool, unmanaged: bool) {
    if no_pods {
        plan.event(budget, "NoPods", "No matching pods found".to_owned());
    }
    if unmanaged {
        let why = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the \
                   PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods \
                   please set \".spec.minAvailable\" field of the PDB to an integer value.";
        plan.warn(budget, "UnmanagedPods", why.to_owned());
    }
}

/// How many pods there should be, and how many of them healthy.
struct Expected {
    pods: i32,
    healthy: i32,
    /// Some pods have no controller that says how many there should be.
    unmanaged: bool,
}

fn expected(world: &World, budget: &PodDisruptionBudget, covered: &[&Arc<Pod>]) -> Result<Expected, String> {
    let spec = spec(budget);
    if let Some(most) = &spec.max_unavailable {
        let (pods, unmanaged) = scale(world, covered)?;
        let healthy = pods.saturating_sub(scaled(most, pods, true)).max(0);
        return Ok(Expected { pods, healthy, unmanaged });
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => {
            let pods = i32::try_from(covered.len()).unwrap_or(i32::MAX);
            Ok(Expected { pods, healthy: *least, unmanaged: false })
        }
        Some(least) => {
            let (pods, unmanaged) = scale(world, covered)?;
            Ok(Expected { pods, healthy: scaled(least, pods, true), unmanaged })
        }
        None => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// The replicas of all controllers of these pods together, and whether a pod has none.
fn scale(world: &World, covered: &[&Arc<Pod>]) -> Result<(i32, bool), String> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in covered {
        let Some(owner) = pod.controller() else {
            unmanaged = true;
            continue;
        };
        let found = controller_scale(world, pod.namespace(), owner);
        let (uid, replicas) = found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.name()))?;
        scales.insert(uid, replicas);
    }
    Ok((scales.values().fold(0, |sum: i32, one| sum.saturating_add(*one)), unmanaged))
}

/// Uid and replicas of what decides how many pods of this kind there are: of a Deployment's ReplicaSet it is the
/// Deployment.
fn controller_scale(world: &World, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let key = Key::new(namespace, &owner.name);
    let of = |uid: &str, replicas: Option<i32>| (uid == owner.uid).then(|| (uid.to_owned(), replicas.unwrap_or(1)));
    match (group, owner.kind.as_str()) {
        ("apps", "ReplicaSet") => {
            let set = world.replica_sets.at(&key).filter(|set| set.uid() == owner.uid)?;
            match set.controller().filter(|above| above.kind == "Deployment") {
                Some(above) => controller_scale(world, namespace, above),
                None => of(set.uid(), set.spec.as_ref().and_then(|spec| spec.replicas)),
            }
        }
        ("apps", "Deployment") => {
            let deployment = world.deployments.at(&key)?;
            of(deployment.uid(), deployment.spec.as_ref().and_then(|spec| spec.replicas))
        }
        ("apps", "StatefulSet") => {
            let set = world.stateful_sets.at(&key)?;
            of(set.uid(), set.spec.as_ref().and_then(|spec| spec.replicas))
        }
        ("", "ReplicationController") => {
            let controller = world.replication_controllers.at(&key)?;
            of(controller.uid(), controller.spec.as_ref().and_then(|spec| spec.replicas))
        }
        _ => None,
    }
}

/// Pods whose eviction was allowed and whose deletion is not seen yet. Those that were not deleted in time count
/// again.
fn disrupted(
    plan: &mut Plan,
    budget: &PodDisruptionBudget,
    covered: &[&Arc<Pod>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let mut still = BTreeMap::new();
    for pod in covered.iter().filter(|pod| !pod.is_deleting()) {
        let Some(since) = known.and_then(|known| known.get(pod.name())) else { continue };
        if since.0 + DELETION_TIMEOUT < now {
            let (namespace, name) = (budget.namespace(), budget.name());
            let why = format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            plan.warn(&***pod, "NotDeleted", why);
        } else {
            still.insert(pod.name().to_owned(), since.clone());
        }
    }
    still
}

fn status(
    budget: &PodDisruptionBudget,
    expected: &Expected,
    healthy: i32,
    disrupted: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    // A budget that covers no pods yet allows nothing: its first pods come before the next look.
    let allowed = if expected.pods <= 0 { 0 } else { healthy.saturating_sub(expected.healthy).max(0) };
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let generation = budget.metadata.generation;
    PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: generation,
        conditions: Some(with_condition(budget, generation, status, reason, "", now)),
    }
}

/// Nothing may be evicted while nobody knows how many pods there should be.
fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let conditions = with_condition(budget, old.observed_generation, "False", "SyncFailed", why, now);
    PodDisruptionBudgetStatus { disruptions_allowed: Some(0), conditions: Some(conditions), ..old }
}

fn with_condition(
    budget: &PodDisruptionBudget,
    generation: Option<i64>,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let old = list.iter_mut().find(|condition| condition.type_ == ALLOWED);
    let since = old.as_ref().filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| time(now)),
    };
    match old {
        Some(old) => *old = new,
        None => list.push(new),
    }
    list
}

/// Writes another status over exactly this version. Whether there is a difference.
fn write(plan: &mut Plan, budget: &Arc<PodDisruptionBudget>, status: PodDisruptionBudgetStatus) -> bool {
    let mut new = PodDisruptionBudget::clone(budget);
    new.status = Some(status);
    let object = to_value(&new);
    let differs = !crate::patch::same_meaning(&object["status"], &to_value(&**budget)["status"]);
    if differs {
        plan.push(Action::Update { target: Target::of(&**budget), subresource: "status", object });
    }
    differs
}
