//! Whether a node takes a pod that was bound to it: the last word, after the scheduler's.

use std::collections::BTreeMap;

use api_machinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::{placement, pods, resources};

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
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub allocatable: &'a BTreeMap<String, Text>,
    pub taints: &'a [Taint],
    pub pressure: Pressure,
    /// Whether the runtime gives a process no other groups than the specification names.
    pub strict_groups: bool,
}

/// Why a pod is not taken: the `reason` of its status, whose phase becomes Failed, and an event's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: &'static str,
    pub message: String,
    /// What the node is called and labelled with may have changed since it was read: read it again.
    pub of_node_object: bool,
}

fn rejection(reason: &'static str, message: String) -> Rejection {
    Rejection { reason, message, of_node_object: false }
}

impl Rejection {
    /// The `message` of the pod's status.
    pub fn status_message(&self) -> String {
        format!("Pod was rejected: {}", self.message)
    }
}

/// As the scheduler's filters name what does not fit.
fn predicate(name: &'static str, why: &str) -> Rejection {
    rejection(name, format!("Predicate {name} failed: {why}"))
}

/// With the reason of a pod that asks for too much of it.
const RESOURCES: [(&str, &str); 3] =
    [("cpu", "OutOfcpu"), ("memory", "OutOfmemory"), ("ephemeral-storage", "OutOfephemeral-storage")];

/// `Err`: the pod fails at once. `others`: the pods that are here already and have not ended.
pub fn admit(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    under_pressure(pod, node.pressure)?;
    supported(pod, node)?;
    fits(pod, others, node)?;
    placed_well(pod, others, node)
}

/// What the node cannot do is said, not passed over.
fn supported(pod: &Pod, node: &NodeView<'_>) -> Result<(), Rejection> {
    let security = pods::spec(pod).and_then(|s| s.security_context.as_ref());
    let policy = security.and_then(|s| s.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") && !node.strict_groups {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
        return Err(rejection("SupplementalGroupsPolicyNotSupported", message));
    }
    Ok(())
}

fn placed_well(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    let of_node = |rejection: Rejection| Rejection { of_node_object: true, ..rejection };
    if !placement::selects(pod, node.name, node.labels) {
        return Err(of_node(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")));
    }
    if !placement::ports_free(pod, others) {
        return Err(predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    if !placement::bears(pod, node.taints) {
        return Err(of_node(predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")));
    }
    Ok(())
}

fn under_pressure(pod: &Pod, pressure: Pressure) -> Result<(), Rejection> {
    if pods::is_critical(pod) {
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
    let message = format!("The node had condition: [{}]. ", short.join(" "));
    Err(rejection("Evicted", message))
}

fn fits(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    let allowed = |name: &str| node.allocatable.get(name).and_then(|q| Quantity::parse(&q.0).ok());
    let too_much = |name: &str, reason: &'static str, requested: i64, used: i64, capacity: i64| {
        let numbers = format!("requested: {requested}, used: {used}, capacity: {capacity}");
        rejection(reason, format!("Node didn't have enough resource: {name}, {numbers}"))
    };
    if let Some(most) = allowed("pods").map(|q| q.value()) {
        let used = i64::try_from(others.len()).unwrap_or(i64::MAX);
        if used >= most {
            return Err(too_much("pods", "OutOfpods", 1, used, most));
        }
    }
    for (name, reason) in RESOURCES {
        let Some(capacity) = allowed(name) else { continue };
        let requested = request(pod, name);
        let used: i128 = others.iter().map(|other| request(other, name)).sum();
        if requested > 0 && requested + used > capacity.nano {
            // As upstream counts: thousandths of a CPU, whole bytes.
            let unit = if name == "cpu" { 1_000_000 } else { 1_000_000_000 };
            let whole = |nano: i128| i64::try_from(nano / unit).unwrap_or(i64::MAX);
            return Err(too_much(name, reason, whole(requested), whole(used), whole(capacity.nano)));
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
        let taints = [Taint { key: "k".into(), effect: "NoExecute".into(), ..Taint::default() }];
        let node = NodeView {
            name: "n",
            labels: &labels,
            allocatable: &allocatable,
            taints: &[],
            pressure: Pressure::default(),
            strict_groups: false,
        };
        let reason = |pod: &Pod, others: &[&Pod], node: &NodeView<'_>| admit(pod, others, node).map_err(|r| r.reason);
        let big = asking("1500m");
        assert_eq!(reason(&big, &[], &node), Ok(()));
        assert_eq!(reason(&big, &[&big], &node), Err("OutOfcpu"));
        assert_eq!(reason(&asking("1m"), &[&big, &big], &node), Err("OutOfpods"));
        let elsewhere = pod(json!({"containers": [], "nodeSelector": {"zone": "b"}}));
        let refused = admit(&elsewhere, &[], &node).expect_err("refused");
        let message =
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        assert_eq!(
            (refused.reason, refused.status_message().as_str(), refused.of_node_object),
            ("NodeAffinity", message, true)
        );
        let port = pod(json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}));
        assert_eq!(reason(&port, &[&port], &node), Err("NodePorts"));
        assert_eq!(reason(&port, &[], &NodeView { taints: &taints, ..node }), Err("TaintToleration"));
        let strict = pod(json!({"containers": [], "securityContext": {"supplementalGroupsPolicy": "Strict"}}));
        assert_eq!(reason(&strict, &[], &node), Err("SupplementalGroupsPolicyNotSupported"));
        assert_eq!(reason(&strict, &[], &NodeView { strict_groups: true, ..node }), Ok(()));
        let short = NodeView { pressure: Pressure { memory: true, ..Pressure::default() }, ..node };
        assert_eq!(reason(&pod(json!({"containers": []})), &[], &short), Err("Evicted"));
        assert_eq!(reason(&big, &[], &short), Ok(()));
    }
}
