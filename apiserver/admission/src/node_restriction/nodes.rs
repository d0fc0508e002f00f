//! A node's own Node.

use std::collections::BTreeSet;

use api_machinery::{Value, object};

use super::{Case, Verdict, refuse, same};
use crate::Operation;

/// Labels with Kubernetes' prefixes a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(crate) fn judge(case: &Case<'_>) -> Verdict {
    let (node, name) = (case.node, case.name());
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    match (case.attributes.operation, case.object, case.attributes.old) {
        (Operation::Create, Some(new), _) => create(node, new),
        (Operation::Update, Some(new), Some(old)) => update(node, new, old),
        _ => Ok(()),
    }
}

fn create(node: &str, new: &Value) -> Verdict {
    if object::at(new, "spec.configSource").is_some_and(Value::is_object) {
        return refuse(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
    }
    let refused = refused_labels(new, None);
    if refused.is_empty() {
        return Ok(());
    }
    refuse(format!("node {node:?} is not allowed to set the following labels: {}", refused.join(", ")))
}

fn update(node: &str, new: &Value, old: &Value) -> Verdict {
    let source = object::at(new, "spec.configSource").filter(|source| source.is_object());
    if source.is_some() && !same(new, old, "spec.configSource") {
        return refuse(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
    }
    for (path, what) in [("spec.taints", "taints"), ("metadata.ownerReferences", "ownerReferences")] {
        if !same(new, old, path) {
            return refuse(format!("node {node:?} is not allowed to modify {what}"));
        }
    }
    let refused = refused_labels(new, Some(old));
    if refused.is_empty() {
        return Ok(());
    }
    refuse(format!("is not allowed to modify labels: {}", refused.join(", ")))
}

/// Changed labels that are not the node's to change.
fn refused_labels<'a>(new: &'a Value, old: Option<&'a Value>) -> Vec<&'a str> {
    let labels = |node: &'a Value| object::at(node, "metadata.labels").and_then(Value::as_object);
    let keys: BTreeSet<&str> =
        labels(new).into_iter().chain(old.and_then(labels)).flat_map(|map| map.keys().map(String::as_str)).collect();
    let value = |node: Option<&'a Value>, key: &str| node.and_then(|node| object::label(node, key));
    keys.into_iter().filter(|key| value(Some(new), key) != value(old, key) && !is_own_label(key)).collect()
}

fn is_own_label(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return true };
    let under = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    let kubernetes = under("kubernetes.io") || under("k8s.io");
    let own = OWN_LABELS.contains(&key) || under("kubelet.kubernetes.io") || under("node.kubernetes.io");
    !under("node-restriction.kubernetes.io") && (!kubernetes || own)
}
