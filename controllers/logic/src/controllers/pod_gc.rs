//! Pods nobody else ends: of nodes that are gone, terminating without a node, ended ones beyond a number.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::controller::{Context, Controller};
use crate::controllers::taint_eviction::disruption;
use crate::meta::Meta;
use crate::plan::{Action, DeleteOptions, Gvr, Plan, Step, Target};
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct PodGarbageCollector {
    /// Ended pods that are kept.
    pub terminated_pods: usize,
}

/// Upstream's default.
pub const TERMINATED_PODS: usize = 12_500;
/// A node must be missing for so long before its pods are removed.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// Ended pods deleted by one plan, at most.
const BATCH: usize = 500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The key under which ended pods are counted.
fn everything() -> Key {
    Key::new("", "")
}

impl Controller for PodGarbageCollector {
    fn name(&self) -> &'static str {
        "pod_gc"
    }
    fn account(&self) -> &'static str {
        "pod-garbage-collector"
    }
    fn workers(&self) -> usize {
        2
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Pod => {
                let pod = change.current::<Pod>().filter(|pod| concerns(world, pod));
                pod.map(Key::of).into_iter().collect()
            }
            Kind::Node if change.is_deletion() => {
                let gone = change.old::<Node>().map(Meta::name).unwrap_or_default();
                world.pods_on(gone).map(|pod| Key::of(&**pod)).collect()
            }
            _ => Vec::new(),
        }
    }
    fn all_keys(&self, world: &World) -> Vec<Key> {
        let pods = world.pods.iter().filter(|pod| concerns(world, pod)).map(|pod| Key::of(&**pod));
        pods.chain([everything()]).collect()
    }
    fn resync_seconds(&self) -> u64 {
        20
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        if *key == everything() {
            return self.terminated(world);
        }
        world.pods.at(key).map_or_else(Plan::nothing, |pod| one(world, pod, context))
    }
}

fn concerns(world: &World, pod: &Pod) -> bool {
    let node = pods::node_name(pod);
    match node.is_empty() {
        true => pod.is_deleting(),
        false => world.nodes.get("", node).is_none_or(|node| pod.is_deleting() && is_out_of_service(node)),
    }
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let tainted = taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE));
    tainted && crate::observed::ready(node).is_some_and(|ready| ready.status != "True")
}

fn one(world: &World, pod: &Pod, context: &Context<'_>) -> Plan {
    let mut plan = Plan::nothing();
    let node = pods::node_name(pod);
    if node.is_empty() {
        if pod.is_deleting() {
            force(pod, None, context.now, &mut plan);
        }
    } else if let Some(node) = world.nodes.get("", node) {
        if pod.is_deleting() && is_out_of_service(node) {
            force(pod, None, context.now, &mut plan);
        }
    } else {
        orphaned(world, pod, node, context, &mut plan);
    }
    plan
}

/// The node must be missing for a while, and be missing in the store itself.
fn orphaned(world: &World, pod: &Pod, node: &str, context: &Context<'_>, plan: &mut Plan) {
    let since = world.observed.missing_since(node).unwrap_or(context.now);
    let left = (since + QUARANTINE).duration_since(context.now);
    if let Ok(left) = Duration::try_from(left)
        && !left.is_zero()
    {
        return plan.requeue(left);
    }
    let target = Target::new(Gvr::of::<Node>(), "", node);
    match context.reads.get(&target) {
        None => plan.read.push(target),
        Some(None) => force(pod, Some("PodGC: node no longer exists"), context.now, plan),
        Some(Some(_)) => {}
    }
}

fn force(pod: &Pod, why: Option<&str>, now: Timestamp, plan: &mut Plan) {
    if !pods::is_terminal(pod) {
        let message = why.unwrap_or("PodGC: deleting a terminating pod that no kubelet ends");
        plan.push(disruption(pod, "DeletionByPodGC", message, Some("Failed"), now));
    }
    plan.push(delete(pod));
}

fn delete(pod: &Pod) -> Action {
    Action::delete(pod, DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() })
}

impl PodGarbageCollector {
    fn terminated(&self, world: &World) -> Plan {
        let mut plan = Plan::nothing();
        let mut ended: Vec<&Arc<Pod>> = world.pods.iter().filter(|pod| pods::is_terminal(pod)).collect();
        let excess = ended.len().saturating_sub(self.terminated_pods);
        if excess > 0 {
            ended.sort_by(|left, right| (left.created(), left.name()).cmp(&(right.created(), right.name())));
            let oldest = ended.iter().take(excess.min(BATCH));
            plan.steps.push(Step::Together(oldest.map(|pod| delete(pod)).collect()));
        }
        plan
    }
}
