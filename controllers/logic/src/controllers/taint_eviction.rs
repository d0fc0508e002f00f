//! Pods leave nodes with NoExecute taints they do not tolerate (any longer).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::controllers::node_lifecycle::{GRACE, NOT_READY, UNREACHABLE};
use crate::meta::{Meta, time};
use crate::plan::{Action, DeleteOptions, PatchType, Plan, Target};
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct TaintEvictionController;

impl Controller for TaintEvictionController {
    fn name(&self) -> &'static str {
        "taint_eviction_controller"
    }
    fn account(&self) -> &'static str {
        "node-controller"
    }
    fn workers(&self) -> usize {
        8
    }
    /// Queued by pod.
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Pod => {
                let pod = change.current::<Pod>().filter(|pod| !pods::node_name(pod).is_empty() && !pod.is_deleting());
                pod.map(Key::of).into_iter().collect()
            }
            Kind::Node => {
                let Some(node) = change.current::<Node>().filter(|_| taints_changed(change)) else {
                    return Vec::new();
                };
                world.pods_on(node.name()).map(|pod| Key::of(&**pod)).collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(pod) = world.pods.at(key).filter(|pod| !pod.is_deleting()) else { return plan };
        let Some(node) = world.nodes.get("", pods::node_name(pod)) else { return plan };
        let Some(end) = end(world, pod, node, context.now) else { return plan };
        match Duration::try_from(end.duration_since(context.now)) {
            Ok(left) if !left.is_zero() => plan.requeue(left),
            _ => evict(pod, context.now, &mut plan),
        }
        plan
    }
}

/// Nodes report often; their pods are looked at only when there is a reason to go, or to go at another time.
fn taints_changed(change: &Change<'_>) -> bool {
    let Some(new) = change.current::<Node>() else { return false };
    match change.old::<Node>() {
        Some(old) => no_execute(old).ne(no_execute(new)),
        None => no_execute(new).next().is_some(),
    }
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().filter(|taint| taint.effect == "NoExecute")
}

/// When the pod must go; `None`: it may stay.
fn end(world: &World, pod: &Pod, node: &Node, now: Timestamp) -> Option<Timestamp> {
    let none = Vec::new();
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()).unwrap_or(&none);
    let ends = no_execute(node).filter_map(|taint| {
        let fitting: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if fitting.is_empty() {
            return Some(now);
        }
        let seconds = fitting.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
        let seen = world.observed.tainted_since(node.name(), &taint.key);
        let since = taint.time_added.as_ref().map(|time| time.0).or(seen).unwrap_or(now);
        let end = since + SignedDuration::from_secs(seconds.clamp(0, i64::from(i32::MAX)));
        Some(end.max(hearing_ends(world, taint, since).unwrap_or(end)))
    });
    ends.min()
}

/// A node that was called dead before this leadership may have been down together with the control plane, as
/// on one machine: it gets the time to say that it is back before its pods are taken from it.
fn hearing_ends(world: &World, taint: &Taint, since: Timestamp) -> Option<Timestamp> {
    let began = world.observed.began()?;
    ([NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && since < began).then(|| began + GRACE)
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let unset = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let effect = unset(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
    let key = unset(&toleration.key) || toleration.key.as_deref() == Some(&taint.key);
    let equal = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => equal(),
        operator => operator == "Exists",
    };
    effect && key && value
}

fn evict(pod: &Pod, now: Timestamp, plan: &mut Plan) {
    let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
    plan.event(pod, "TaintManagerEviction", message);
    let why = "Taint manager: deleting due to NoExecute taint";
    plan.push(disruption(pod, "DeletionByTaintManager", why, None, now));
    plan.push(Action::delete(pod, DeleteOptions::default()));
}

/// Says on the pod why it is about to be deleted; with `phase` that it has ended.
pub(crate) fn disruption(pod: &Pod, reason: &str, message: &str, phase: Option<&str>, now: Timestamp) -> Action {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": time(now),
    });
    let mut status = json!({ "conditions": [condition] });
    if let Some(phase) = phase {
        status["phase"] = json!(phase);
    }
    let body = json!({ "metadata": { "uid": pod.uid() }, "status": status });
    Action::Patch { target: Target::of(pod), subresource: "status", patch: PatchType::Strategic, body }
}
