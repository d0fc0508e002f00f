//! What may change of a pod once it exists.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};
use serde_json::Map;

use crate::at::{At, IMMUTABLE, child, is_empty, same};
use crate::cells;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`, \
                       `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions \
                       to existing tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                       previously negative)";

/// An update through the pod itself; the status and ephemeral containers have their own subresources.
pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    for list in ["containers", "initContainers"] {
        let at = spec.field(list);
        if !same_names(at.value, child(old_spec, list)) {
            return at.forbidden(errors, "pod updates may not add or remove containers");
        }
    }
    validate_deadline(&spec.field("activeDeadlineSeconds"), child(old_spec, "activeDeadlineSeconds"), errors);
    let gated = !is_empty(child(old_spec, "schedulingGates"));
    validate_gates(&spec.field("schedulingGates"), child(old_spec, "schedulingGates"), errors);
    validate_tolerations(&spec.field("tolerations"), child(old_spec, "tolerations"), errors);
    let mut allowed = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates", "containers", "initContainers"];
    if gated {
        allowed.extend(["nodeSelector", "affinity"]);
        validate_gated(&spec, old_spec, errors);
    }
    if !errors.is_empty() {
        return;
    }
    if !same_besides(spec.value, old_spec, &allowed) || !same_containers(spec.value, old_spec) {
        spec.forbidden(errors, ALLOWED);
    }
}

fn same_names(new: &Value, old: &Value) -> bool {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().map(|one| object::str_at(one, "name").to_owned()).collect()
    };
    names(new).len() == names(old).len() && names(new) == names(old)
}

fn validate_deadline(at: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let (Some(new), old) = (at.int(), old.as_i64()) else {
        if old.as_i64().is_some() {
            errors.invalid(&at.path(), &Value::Null, "must not update from a positive integer to nil value");
        }
        return;
    };
    if old.is_some_and(|old| new > old) {
        at.invalid(errors, &format!("must be less than or equal to previous value {}", old.unwrap_or(0)));
    }
}

/// Gates may only be taken away.
fn validate_gates(gates: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let had: HashSet<&str> = old.as_array().into_iter().flatten().map(|gate| object::str_at(gate, "name")).collect();
    for gate in gates.items() {
        let name = gate.field("name");
        if !had.contains(name.str()) {
            name.forbidden(errors, "only deletion is allowed, but found new scheduling gate");
        }
    }
}

/// Old tolerations stay, but for a seconds value that shrinks to bind sooner.
fn validate_tolerations(at: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Value| -> Map<String, Value> {
        let map = toleration.as_object().cloned().unwrap_or_default();
        map.into_iter().filter(|(field, value)| field != "tolerationSeconds" && !is_empty(value)).collect()
    };
    let new: HashSet<_> = at.list().iter().map(without_seconds).collect();
    for old in old.as_array().into_iter().flatten() {
        if !new.contains(&without_seconds(old)) {
            return at.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
        }
    }
}

/// A gated pod's node selector and affinity may become stricter.
fn validate_gated(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let selector = spec.field("nodeSelector");
    for (key, value) in child(old, "nodeSelector").as_object().into_iter().flatten() {
        if selector.value.get(key) != Some(value) {
            selector.invalid(errors, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
            break;
        }
    }
    let affinity = spec.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = affinity.field(kind);
        if !same(at.value, child(child(old, "affinity"), kind)) {
            at.invalid(errors, IMMUTABLE);
        }
    }
    let terms = "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (at, old_terms) = (affinity.field(terms), child(child(old, "affinity"), terms));
    let old_terms = old_terms.as_array().map_or(&[][..], Vec::as_slice);
    if !old_terms.is_empty() && at.list().len() != old_terms.len() {
        at.invalid(errors, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    } else {
        for (index, (new, old)) in at.list().iter().zip(old_terms).enumerate() {
            if !only_additions(new, old) {
                errors.invalid(&at.path().index(index), new, "only additions are allowed (no mutations or deletions)");
            }
        }
    }
}

fn only_additions(new: &Value, old: &Value) -> bool {
    ["matchExpressions", "matchFields"].iter().all(|list| {
        let (new, old) = (cells::list(new, list), cells::list(old, list));
        new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
    })
}

fn same_besides(new: &Value, old: &Value, fields: &[&str]) -> bool {
    let all_in = |one: &Value, other: &Value| {
        one.as_object().into_iter().flatten().all(|(field, value)| {
            fields.contains(&field.as_str())
                || same(value, child(other, field))
                || (field == "terminationGracePeriodSeconds" && grace_mended(new, old))
        })
    };
    all_in(new, old) && all_in(old, new)
}

/// A negative grace period of an old pod may become 1.
fn grace_mended(new: &Value, old: &Value) -> bool {
    let of = |spec: &Value| child(spec, "terminationGracePeriodSeconds").as_i64();
    of(new) == Some(1) && of(old).is_some_and(|seconds| seconds < 0)
}

/// Containers may change their image only.
fn same_containers(new: &Value, old: &Value) -> bool {
    ["containers", "initContainers"].iter().all(|list| {
        let (new, old) = (cells::list(new, list), cells::list(old, list));
        new.iter().zip(old).all(|(new, old)| same_besides(new, old, &["image"]))
    })
}

/// Through `/status`: the spec stays, and so do owners and the deletion mark.
pub(crate) fn prepare_status(object: &mut Value, old: &Value) {
    crate::keep_field(object, old, "spec");
    for field in ["ownerReferences", "deletionTimestamp"] {
        let kept = child(child(old, "metadata"), field).clone();
        let meta = object::meta_mut(object);
        if kept.is_null() {
            meta.remove(field);
        } else {
            meta.insert(field.to_owned(), kept);
        }
    }
    let class = child(old, "status.qosClass");
    if is_empty(child(object, "status.qosClass")) && !is_empty(class) && object["status"].is_object() {
        object["status"]["qosClass"] = class.clone();
    }
}

/// Containers that ended for good do not come back, `nodeName` and the class stay.
pub(crate) fn validate_status(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let status = root.field("status");
    let class = child(old, "status.qosClass");
    if !is_empty(class) && status.field("qosClass").value != class {
        status.field("qosClass").invalid(errors, IMMUTABLE);
    }
    let restart = object::str_at(old, "spec.restartPolicy");
    if restart == "Always" {
        return;
    }
    let statuses = status.field("containerStatuses");
    for old_status in cells::list(old, "status.containerStatuses") {
        let ended = child(old_status, "state.terminated");
        if !ended.is_object() || (restart == "OnFailure" && cells::int(ended, "exitCode") != 0) {
            continue;
        }
        let name = object::str_at(old_status, "name");
        for new in statuses.items() {
            if object::str_at(new.value, "name") == name && !new.field("state.terminated").present() {
                new.field("state").forbidden(errors, "may not be transitioned to non-terminated state");
            }
        }
    }
}
