//! Pods: their number, and what they request and are limited to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::amounts::{Amounts, ONE, parse};
use super::pod_resources::{Side, has_pod_level, is_best_effort, of_pod};
use super::scopes::Scope;
use crate::{names, object, time};

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must say where a quota limits it.
const REQUIRED: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `example.com/gpu`, or what stands for a class of devices.
fn is_extended(name: &str) -> bool {
    let extended = !is_native(name) && !name.starts_with("requests.");
    extended && names::qualified_name(&format!("requests.{name}")).is_empty() || name.starts_with(DEVICE_CLASS)
}

pub(super) fn counts(name: &str) -> bool {
    let bare = name.strip_prefix("requests.");
    let compute = bare.or(name.strip_prefix("limits.")).unwrap_or(name);
    name == "pods"
        || COMPUTE.contains(&compute)
        || bare.unwrap_or(name).starts_with("hugepages-")
        || bare.is_some_and(|bare| !is_native(name) || bare.starts_with(DEVICE_CLASS))
}

/// `cpu` counts what is requested, as `requests.cpu`.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), ONE)]);
    for (name, amount) in requests {
        let known = COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-");
        if known {
            used.insert(name.clone(), *amount);
        }
        if known || is_extended(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    let limited = limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    used.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    used
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if !is_alive(pod, now) {
        return Amounts::new();
    }
    compute(&of_pod(pod, Side::Requests), &of_pod(pod, Side::Limits))
}

/// It runs or will run; what has ended, or should have long ago, uses nothing.
fn is_alive(pod: &Value, now: Timestamp) -> bool {
    if matches!(object::str_at(pod, "status.phase"), "Failed" | "Succeeded") {
        return false;
    }
    let grace = object::at(pod, "metadata.deletionGracePeriodSeconds").and_then(Value::as_i64);
    let (Some(deletion), Some(grace)) = (object::deletion_timestamp(pod).and_then(time::parse), grace) else {
        return true;
    };
    deletion.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now <= end)
}

/// What the containers of a pod leave unsaid that these limited resources demand, in upstream's words.
pub(super) fn unsaid(pod: &Value, limited: &[&str]) -> Option<String> {
    let required: Vec<&str> = REQUIRED.into_iter().filter(|name| limited.contains(name)).collect();
    if required.is_empty() || has_pod_level(pod) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["spec.containers", "spec.initContainers"] {
        for container in object::at(pod, list).and_then(Value::as_array).into_iter().flatten() {
            let said = compute(&parse(container, "resources.requests"), &parse(container, "resources.limits"));
            for name in required.iter().filter(|name| !said.contains_key(**name)) {
                missing.entry(name).or_default().insert(object::str_at(container, "name"));
            }
        }
    }
    let told = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("must specify {}", told.join("; ")))
}

/// It ends by itself at some time.
pub(super) fn is_terminating(pod: &Value) -> bool {
    object::at(pod, "spec.activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds >= 0)
}

pub(super) fn in_scope(pod: &Value, scope: &Scope<'_>) -> bool {
    match scope.name {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = object::str_at(pod, "spec.priorityClassName");
            scope.selects((!class.is_empty()).then_some(class))
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

/// Its affinity looks at pods of other namespaces.
fn crosses_namespaces(pod: &Value) -> bool {
    let array = |value: &Value, path: &str| object::at(value, path).and_then(Value::as_array).cloned();
    let crosses = |term: &Value| {
        let named = term.get("namespaces").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        named || term.get("namespaceSelector").is_some_and(|selector| !selector.is_null())
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let Some(affinity) = object::at(pod, "spec.affinity").and_then(|all| all.get(kind)) else { return false };
        let required = array(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = array(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
        let terms = preferred.into_iter().flatten().filter_map(|one| one.get("podAffinityTerm").cloned());
        required.into_iter().flatten().chain(terms).any(|term| crosses(&term))
    })
}
