//! Nodes that stop giving signs of life: their conditions, their taints, and the readiness of their pods.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::meta::{Meta, time};
use crate::observed::{condition, ready};
use crate::plan::{Action, PatchType, Plan, Step, Target};
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct NodeLifecycleController;

/// Without a sign of life for so long a node's conditions become Unknown: upstream's default since v1.32.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// The same for a node that never posted any.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Taints of nodes that are down. With the effect NoExecute they are only kept, swapped and removed here: to add
/// them is [`super::node_eviction`]'s.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that become taints while they hold.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// Conditions a kubelet answers for.
const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

impl Controller for NodeLifecycleController {
    fn name(&self) -> &'static str {
        "node_lifecycle_controller"
    }
    fn account(&self) -> &'static str {
        "node-controller"
    }
    fn workers(&self) -> usize {
        8
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Node => change.current::<Node>().map(Key::of).into_iter().collect(),
            // Only a node that is not ready waits for its pods to change.
            Kind::Pod => {
                let node = change.current::<Pod>().filter(|pod| pods::is_ready(pod)).map(pods::node_name);
                let node = node.and_then(|name| world.nodes.get("", name)).filter(|node| !is_ready(node));
                node.map(|node| Key::of(&**node)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
    /// A lease that is no more renewed is no change: all nodes are looked at again and again.
    fn all_keys(&self, world: &World) -> Vec<Key> {
        world.nodes.keys().cloned().collect()
    }
    fn resync_seconds(&self) -> u64 {
        5
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        match world.nodes.at(key) {
            Some(node) => reconcile(world, node, context.now),
            None => Plan::nothing(),
        }
    }
}

pub(crate) fn is_ready(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "True")
}

fn reconcile(world: &World, node: &Node, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let grace = if ready(node).is_some() { GRACE } else { STARTUP_GRACE };
    let heard = last_sign(world, node);
    let mut silent = None;
    if now.duration_since(heard) > grace {
        let new = silent.insert(unknown(node, now));
        plan.change(node, new, "status");
    } else {
        let left = Duration::try_from((heard + grace).duration_since(now)).unwrap_or(Duration::ZERO);
        plan.requeue(left + Duration::from_millis(100));
    }
    let new = silent.as_ref().unwrap_or(node);
    if is_ready(node) && !is_ready(new) {
        let message = format!("Node {} status is now: NodeNotReady", node.name());
        plan.event(node, "NodeNotReady", message);
    }
    set_taints(world, node, new, now, &mut plan);
    mark_pods(world, new, now, &mut plan);
    plan
}

/// The node as nobody speaks for it any more.
fn unknown(node: &Node, now: Timestamp) -> Node {
    let mut new = node.clone();
    KUBELETS.iter().for_each(|kind| make_unknown(&mut new, kind, now));
    new
}

fn last_sign(world: &World, node: &Node) -> Timestamp {
    world.observed.heard(node.name()).unwrap_or_else(|| node.created())
}

fn make_unknown(node: &mut Node, kind: &str, now: Timestamp) {
    let created = node.metadata.creation_timestamp.clone();
    let list = node.status.get_or_insert_default().conditions.get_or_insert_default();
    match list.iter_mut().find(|condition| condition.type_ == kind) {
        Some(known) if known.status == "Unknown" => {}
        Some(known) => {
            known.status = "Unknown".to_owned();
            known.reason = Some("NodeStatusUnknown".to_owned());
            known.message = Some("Kubelet stopped posting node status.".to_owned());
            known.last_transition_time = Some(time(now));
        }
        None => list.push(NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusNeverUpdated".to_owned()),
            message: Some("Kubelet never posted node status.".to_owned()),
            last_heartbeat_time: created,
            last_transition_time: Some(time(now)),
        }),
    }
}

/// Taints of this controller that a node should have, with their effects.
fn wanted_taints(world: &World, node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    let health = match ready(node).map(|ready| ready.status.as_str()) {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        Some(_) => Some(NOT_READY),
        // A node that has not said anything yet keeps the taint it was admitted with.
        None => has_taint(node, NOT_READY).then_some(NOT_READY),
    };
    if let Some(key) = health {
        wanted.push((key, "NoSchedule"));
        // When no node at all is ready the fault is more likely here: nobody is evicted, as upstream.
        if evicting(node).is_some() && any_other_ready(world, node) {
            wanted.push((key, "NoExecute"));
        }
    }
    for (kind, key) in PRESSURES {
        if condition(node, kind).is_some_and(|condition| condition.status == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

/// The taint by which a node that is down loses its pods, when it has one.
pub(crate) fn evicting(node: &Node) -> Option<&Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let health = |taint: &&Taint| taint.key == NOT_READY || taint.key == UNREACHABLE;
    taints.into_iter().flatten().filter(health).find(|taint| taint.effect == "NoExecute")
}

fn any_other_ready(world: &World, node: &Node) -> bool {
    world.nodes.iter().any(|other| other.name() != node.name() && is_ready(other))
}

fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == key))
}

fn is_ours(key: &str) -> bool {
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key) || PRESSURES.iter().any(|(_, own)| *own == key)
}

/// `health` is the node as its conditions will be.
fn set_taints(world: &World, node: &Node, health: &Node, now: Timestamp, plan: &mut Plan) {
    let wanted = wanted_taints(world, health);
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints: Vec<_> = old.iter().filter(|taint| !is_ours(&taint.key) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            // Pods that leave because of the other taint leave no later because of this one.
            let since = evicting(node).filter(|_| *effect == "NoExecute").and_then(|taint| taint.time_added.clone());
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(since.unwrap_or_else(|| time(now))),
                value: None,
            });
        }
    }
    if taints == old {
        return;
    }
    // Before the status: that write would make the version old.
    plan.steps.insert(0, Step::One(put_taints(node, &taints)));
}

/// The list has no merge key a patch could use: the version guards it.
pub(crate) fn put_taints(node: &Node, taints: &[Taint]) -> Action {
    let metadata = json!({ "uid": node.uid(), "resourceVersion": node.metadata.resource_version });
    let taints = if taints.is_empty() { json!(null) } else { crate::plan::to_value(&taints) };
    let body = json!({ "metadata": metadata, "spec": { "taints": taints } });
    Action::Patch { target: Target::of(node), subresource: "", patch: PatchType::Merge, body }
}

/// Pods of a node that is not ready are not ready either, unless their kubelet said so since.
fn mark_pods(world: &World, node: &Node, now: Timestamp, plan: &mut Plan) {
    let Some(down) = ready(node).filter(|ready| ready.status != "True") else { return };
    let since = down.last_transition_time.as_ref().map_or(now, |time| time.0);
    let stale = world.pods_on(node.name()).filter(|pod| pods::ready_since(pod).is_some_and(|ready| ready <= since));
    let (mut patches, mut notes) = (Vec::new(), Vec::new());
    for pod in stale {
        let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": time(now) });
        let body = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
        let target = Target::of(&**pod);
        patches.push(Action::Patch { target, subresource: "status", patch: PatchType::Strategic, body });
        notes.push(pod.clone());
    }
    if !patches.is_empty() {
        plan.steps.push(Step::Together(patches));
        notes.iter().for_each(|pod| plan.warn(&**pod, "NodeNotReady", "Node is not ready".to_owned()));
    }
}
