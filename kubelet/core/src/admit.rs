//! Whether a node takes a pod that was bound to it: the last word, after the scheduler's.

use std::collections::BTreeMap;

use api_machinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::{pods, resources};

/// What is short on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pid: bool,
}

/// What a pod is measured against.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    pub labels: &'a BTreeMap<String, String>,
    pub allocatable: &'a BTreeMap<String, Text>,
    pub pressure: Pressure,
}

/// Why a pod is not taken: `reason` and `message` of its status, whose phase becomes Failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// `Err`: the pod fails at once. `others`: the pods that are here already and have not ended.
pub fn admit(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    under_pressure(pod, node.pressure)?;
    fits(pod, others, node)?;
    selects(pod, node.labels)
}

fn under_pressure(pod: &Pod, pressure: Pressure) -> Result<(), Rejection> {
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    if pods::spec(pod).and_then(|s| s.priority).is_some_and(|p| p >= SYSTEM_CRITICAL) {
        return Ok(());
    }
    let tolerates = pods::spec(pod).and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]).iter().any(|t| {
        t.key.as_deref() == Some("node.kubernetes.io/memory-pressure")
            || t.key.is_none() && t.operator.as_deref() == Some("Exists")
    });
    let spared = resources::qos_class(pod) != "BestEffort" || tolerates;
    let named = [
        ("MemoryPressure", pressure.memory && !spared),
        ("DiskPressure", pressure.disk),
        ("PIDPressure", pressure.pid),
    ];
    let short: Vec<_> = named.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if short.is_empty() {
        return Ok(());
    }
    Err(Rejection { reason: "Evicted".into(), message: format!("The node had condition: [{}]. ", short.join(" ")) })
}

fn fits(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    let allowed = |name: &str| node.allocatable.get(name).and_then(|q| Quantity::parse(&q.0).ok());
    let too_much = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{name}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    if let Some(most) = allowed("pods").map(|q| q.value()) {
        let used = i64::try_from(others.len()).unwrap_or(i64::MAX);
        if used >= most {
            return Err(too_much("pods", 1, used, most));
        }
    }
    for name in RESOURCES {
        let Some(capacity) = allowed(name) else { continue };
        let requested = request(pod, name);
        let used: i128 = others.iter().map(|other| request(other, name)).sum();
        if requested > 0 && requested + used > capacity.nano {
            // As upstream counts: thousandths of a CPU, whole bytes.
            let unit = if name == "cpu" { 1_000_000 } else { 1_000_000_000 };
            let whole = |nano: i128| i64::try_from(nano / unit).unwrap_or(i64::MAX);
            return Err(too_much(name, whole(requested), whole(used), whole(capacity.nano)));
        }
    }
    Ok(())
}

/// What a pod requests, in billionths: apps and sidecars together, or the largest init container beside the sidecars before it.
fn request(pod: &Pod, name: &str) -> i128 {
    let one = |c: &Container| -> i128 {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.and_then(|r| r.get(name)).and_then(|q| Quantity::parse(&q.0).ok()).map_or(0, |q| q.nano)
    };
    let (mut sidecars, mut highest) = (0, 0);
    for init in pods::init_containers(pod) {
        if pods::is_sidecar(init) {
            sidecars += one(init);
            highest = highest.max(sidecars);
        } else {
            highest = highest.max(sidecars + one(init));
        }
    }
    let apps: i128 = pods::app_containers(pod).iter().map(one).sum();
    let overhead = pods::spec(pod).and_then(|s| s.overhead.as_ref()).and_then(|o| o.get(name));
    let overhead = overhead.and_then(|q| Quantity::parse(&q.0).ok()).map_or(0, |q| q.nano);
    (apps + sidecars).max(highest) + overhead
}

/// `nodeSelector`; affinity is the scheduler's word alone.
fn selects(pod: &Pod, labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let wanted = pods::spec(pod).and_then(|s| s.node_selector.as_ref());
    if wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return Ok(());
    }
    Err(Rejection { reason: "NodeAffinity".into(), message: "Pod was rejected: Predicate NodeAffinity failed".into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_word() {
        let pod = |spec: serde_json::Value| -> Pod { serde_json::from_value(json!({"spec": spec})).expect("a pod") };
        let asking = |cpu: &str| pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}));
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let allocatable = BTreeMap::from([("cpu".to_owned(), Text("2".into())), ("pods".to_owned(), Text("2".into()))]);
        let node = NodeView { labels: &labels, allocatable: &allocatable, pressure: Pressure::default() };
        let reason = |pod: &Pod, others: &[&Pod], node: &NodeView<'_>| admit(pod, others, node).map_err(|r| r.reason);
        let big = asking("1500m");
        assert_eq!(reason(&big, &[], &node), Ok(()));
        assert_eq!(reason(&big, &[&big], &node), Err("OutOfcpu".into()));
        assert_eq!(reason(&asking("1m"), &[&big, &big], &node), Err("OutOfpods".into()));
        let elsewhere = pod(json!({"containers": [], "nodeSelector": {"zone": "b"}}));
        assert_eq!(reason(&elsewhere, &[], &node), Err("NodeAffinity".into()));
        let short = NodeView { pressure: Pressure { memory: true, ..Pressure::default() }, ..node };
        assert_eq!(reason(&pod(json!({"containers": []})), &[], &short), Err("Evicted".into()));
        assert_eq!(reason(&big, &[], &short), Ok(()));
    }
}
