//! `pods/resize`: cpu and memory of containers, and of the pod, while it runs.

use api_machinery::{ErrorList, Value, object};
use serde_json::{Map, json};

use crate::at::{At, child, is_empty, same};
use crate::list::core_qos as qos;
use crate::{cells, keep_field};

/// Of pods that a kubelet runs from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// The stored pod with what a resize may bring. A list of other containers stays as it came, for validation to
/// refuse.
pub(crate) fn prepare(object: &mut Value, old: &Value) {
    let version = object::resource_version(object).to_owned();
    let wanted = std::mem::replace(object, old.clone());
    object::meta_mut(object).insert("resourceVersion".to_owned(), version.into());
    if !object["spec"].is_object() {
        return;
    }
    for list in LISTS {
        let merged = merged(cells::list(child(old, "spec"), list), cells::list(child(&wanted, "spec"), list));
        if merged.is_empty() {
            keep_field(&mut object["spec"], child(&wanted, "spec"), list);
        } else {
            object["spec"][list] = merged.into();
        }
    }
    keep_field(&mut object["spec"], child(&wanted, "spec"), "resources");
}

fn merged(old: &[Value], wanted: &[Value]) -> Vec<Value> {
    let same_names = old.len() == wanted.len()
        && old.iter().zip(wanted).all(|(old, new)| object::str_at(old, "name") == object::str_at(new, "name"));
    if !same_names {
        return wanted.to_vec();
    }
    let resized = |(old, new): (&Value, &Value)| {
        let mut container = old.clone();
        keep_field(&mut container, new, "resources");
        keep_field(&mut container, new, "resizePolicy");
        container
    };
    old.iter().zip(wanted).map(resized).collect()
}

/// Why a pod cannot be resized at all; nothing else is said of it then.
pub(crate) fn refusal(old: &Value) -> Option<&'static str> {
    if object::annotation(old, MIRROR).is_some() {
        return Some("static pods cannot be resized");
    }
    (child(old, "spec.os.name") == "windows").then_some("windows pods cannot be resized")
}

/// What must hold besides what holds of every pod.
pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    validate_pod(&spec, old, errors);
    if !validate_order(&spec, old_spec, errors) {
        return;
    }
    let (containers, init) = (spec.field("containers"), spec.field("initContainers"));
    let (old_containers, old_init) = (cells::list(old_spec, "containers"), cells::list(old_spec, "initContainers"));
    for (container, old) in init.items().zip(old_init).chain(containers.items().zip(old_containers)) {
        validate_kept(&container.field("resources"), child(old, "resources"), errors);
    }
    for (container, old) in containers.items().zip(old_containers) {
        if !only_amounts(container.value, old) {
            spec.forbidden(errors, "only cpu and memory resources are mutable");
        }
    }
    for (container, old) in init.items().zip(old_init) {
        validate_init(&container, old, errors);
    }
}

/// What concerns the pod as a whole.
fn validate_pod(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let class = child(old, "status.qosClass");
    let before = class.as_str().filter(|class| !class.is_empty()).unwrap_or_else(|| qos::class(child(old, "spec")));
    if before != qos::class(spec.value) {
        errors.invalid(&spec.path(), class, "Pod QOS Class may not change as a result of resizing");
    }
    // A kubelet that can resize says of every running container what it has.
    let mut running = cells::list(old, "status.containerStatuses").iter();
    let running = running.find(|status| !child(status, "state.running").is_null());
    if running.is_some_and(|status| child(status, "resources").is_null()) {
        spec.forbidden(errors, "Pod running on node without support for resize");
    }
    let old_resources = child(old, "spec.resources");
    if says_something(old_resources) || says_something(child(spec.value, "resources")) {
        validate_pod_level(spec, old_resources, errors);
    }
    if !cells::list(old, "status.nodeAllocatableResourceClaimStatuses").is_empty() {
        spec.forbidden(errors, "pods with node allocatable resource claims cannot be resized");
    }
}

fn says_something(resources: &Value) -> bool {
    ["requests", "limits"].iter().any(|list| !is_empty(child(resources, list)))
}

fn validate_pod_level(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let resources = spec.field("resources");
    if !old.is_null() && !resources.present() {
        return resources.forbidden(errors, "pod-level resources cannot be removed");
    }
    for list in ["requests", "limits"] {
        if is_removed(child(resources.value, list), child(old, list)) {
            resources.field(list).forbidden(errors, &format!("pod-level resource {list} cannot be removed"));
        }
    }
    let holder = |resources: &Value| json!({"resources": resources});
    if !only_amounts(&holder(resources.value), &holder(old)) {
        spec.forbidden(errors, "only cpu and memory resources are mutable at pod-level");
    }
}

/// Containers stay the same ones in the same order; the rest is compared one by one.
fn validate_order(spec: &At<'_>, old_spec: &Value, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    for list in LISTS {
        let (at, old) = (spec.field(list), cells::list(old_spec, list));
        if at.list().len() != old.len() {
            at.forbidden(errors, &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (container, old) in at.items().zip(old) {
            if object::str_at(container.value, "name") != object::str_at(old, "name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                container.field("name").forbidden(errors, &detail);
            }
        }
    }
    errors.len() == before
}

fn validate_kept(resources: &At<'_>, old: &Value, errors: &mut ErrorList) {
    for list in ["requests", "limits"] {
        if is_removed(child(resources.value, list), child(old, list)) {
            resources.field(list).forbidden(errors, &format!("resource {list} cannot be removed"));
        }
    }
}

fn validate_init(container: &At<'_>, old: &Value, errors: &mut ErrorList) {
    if !only_amounts(container.value, old) {
        container.forbidden(errors, "only cpu and memory resources for init or sidecar containers are mutable");
    }
    let restarts = cells::list(container.value, "resizePolicy");
    let restarts = restarts.iter().filter(|policy| object::str_at(policy, "restartPolicy") == "RestartContainer");
    if same(container.value, old) || object::str_at(container.value, "restartPolicy") == "Always" {
        return;
    }
    for _ in restarts {
        let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        container.forbidden(errors, detail);
    }
}

fn is_removed(new: &Value, old: &Value) -> bool {
    old.as_object().into_iter().flatten().any(|(name, _)| new.get(name).is_none())
}

/// Whether what differs, if anything, is only how much cpu and memory there is.
fn only_amounts(new: &Value, old: &Value) -> bool {
    let mut masked = new.clone();
    let Some(map) = masked.as_object_mut() else { return true };
    let mut resources = Map::new();
    for list in ["limits", "requests"] {
        let of = |value: &Value| child(child(value, "resources"), list).as_object().cloned().unwrap_or_default();
        let (mut amounts, old) = (of(new), of(old));
        for name in ["cpu", "memory"] {
            match old.get(name) {
                Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
                None => amounts.remove(name),
            };
        }
        if !amounts.is_empty() {
            resources.insert(list.to_owned(), amounts.into());
        }
    }
    map.remove("resources");
    if !resources.is_empty() {
        map.insert("resources".to_owned(), resources.into());
    }
    // A container always has them, if only `{}`.
    let mut before = old.clone();
    if let Some(map) = before.as_object_mut().filter(|map| map.get("resources").is_some_and(is_empty)) {
        map.remove("resources");
    }
    same(&masked, &before)
}
