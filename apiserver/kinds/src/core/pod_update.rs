//! What may change of a pod once it exists.

use std::collections::{HashMap, HashSet};

use api_machinery::quote::quoted;
use api_machinery::{ErrorList, Value, object};
use serde_json::Map;

use crate::at::{At, child, is_empty, same};
use crate::cells;
use crate::list::{
    core_affinity as affinity, core_container as container, core_internal_json as internal,
    core_pod_annotations as annotations,
};

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                       to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                       previously negative)";

/// The internal type of a pod's spec.
const SPEC: &str = "PodSpec";

/// An update through the pod itself; the status and ephemeral containers have their own subresources. Upstream stops
/// where the rest would not make sense.
pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    validate_annotations(&root, old, errors);
    for list in ["containers", "initContainers"] {
        if !validate_containers(&spec.field(list), child(old_spec, list), errors) {
            return;
        }
    }
    if !validate_deadline(&spec.field("activeDeadlineSeconds"), child(old_spec, "activeDeadlineSeconds"), errors) {
        return;
    }
    validate_tolerations(&spec.field("tolerations"), child(old_spec, "tolerations"), errors);
    validate_gates(&spec.field("schedulingGates"), child(old_spec, "schedulingGates"), errors);
    if is_same(spec.value, old_spec) {
        return;
    }
    if !is_empty(child(old_spec, "schedulingGates")) {
        validate_gated(&spec, old_spec, errors);
    }
    let masked = without_allowed(spec.value, old_spec);
    if !is_same(&masked, old_spec) {
        let (old, new) = (internal::pod_spec(old_spec), internal::pod_spec(&masked));
        spec.forbidden(errors, &format!("{ALLOWED}\n{}", internal::difference(SPEC, &old, &new)));
    }
}

/// Whether two specs of pods are the same.
pub(crate) fn is_same(new: &Value, old: &Value) -> bool {
    new == old || internal::same(SPEC, &internal::pod_spec(new), &internal::pod_spec(old))
}

/// Those that are read when a pod starts stay; all are looked at once more, as upstream does.
pub(crate) fn validate_annotations(root: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let notes = root.field("metadata.annotations");
    let before = child(old, "metadata.annotations");
    let fixed = |key: &str| match key {
        annotations::MIRROR => Some("mirror pod annotation"),
        _ if key.starts_with(annotations::APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, value) in before.as_object().into_iter().flatten() {
        if let Some(what) = fixed(key).filter(|_| notes.value.get(key) != Some(value)) {
            notes.key(key).forbidden(errors, &format!("may not remove or update {what}"));
        }
    }
    for (key, at) in notes.entries().filter(|(key, _)| before.get(key).is_none()) {
        if let Some(what) = fixed(key) {
            at.forbidden(errors, &format!("may not add {what}"));
        }
    }
    annotations::validate(&notes, &root.field("spec"), errors);
}

/// Whether there are as many as before.
fn validate_containers(containers: &At<'_>, old: &Value, errors: &mut ErrorList) -> bool {
    if containers.list().len() != old.as_array().map_or(0, Vec::len) {
        containers.forbidden(errors, "pod updates may not add or remove containers");
        return false;
    }
    for one in containers.items() {
        one.field("image").need(errors);
        container::validate_image_is_trimmed(&one, errors);
    }
    true
}

/// It may be set, and lowered. Answers whether to go on.
fn validate_deadline(at: &At<'_>, old: &Value, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    match (at.int(), old.as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => at.between(errors, 0, i64::from(i32::MAX)),
        (Some(new), Some(old)) if new > old => {
            at.invalid(errors, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(&at.path(), &Value::Null, "must not update from a positive integer to nil value");
            return true;
        }
        _ => {}
    }
    errors.len() == before
}

/// Gates may only be taken away. Of new ones with one name, the last is told of.
fn validate_gates(gates: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let had: HashSet<&str> = old.as_array().into_iter().flatten().map(|gate| object::str_at(gate, "name")).collect();
    let all = gates.list().iter().enumerate();
    let last: HashMap<&str, usize> = all.map(|(index, gate)| (object::str_at(gate, "name"), index)).collect();
    for (index, gate) in gates.items().enumerate() {
        let name = gate.field("name");
        if !had.contains(name.str()) && last.get(name.str()) == Some(&index) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.str());
            name.forbidden(errors, &detail);
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
    affinity::validate_tolerations(at, errors);
}

/// A gated pod's node selector and node affinity may become stricter.
fn validate_gated(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    const TERM: &str = "NodeSelectorTerm";
    let selector = spec.field("nodeSelector");
    for (key, value) in child(old, "nodeSelector").as_object().into_iter().flatten() {
        if selector.value.get(key) != Some(value) {
            selector.invalid(errors, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
            break;
        }
    }
    let terms = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (at, old_terms) = (spec.field(terms), child(old, terms));
    let old_terms = old_terms.as_array().map_or(&[][..], Vec::as_slice);
    if !old_terms.is_empty() && at.list().len() != old_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid_printed(&at.path(), &internal::shown(TERM, at.value), detail);
    }
    for (new, old) in at.items().zip(old_terms) {
        if !only_additions(new.value, old) {
            let shown = internal::shown(TERM, new.value);
            errors.invalid_printed(&new.path(), &shown, "only additions are allowed (no mutations or deletions)");
        }
    }
}

fn only_additions(new: &Value, old: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    // A term that selects nothing stays so.
    let is_nothing = |term: &Value| LISTS.iter().all(|list| cells::list(term, list).is_empty());
    if is_nothing(old) {
        return is_nothing(new);
    }
    LISTS.iter().all(|list| {
        let (new, old) = (cells::list(new, list), cells::list(old, list));
        new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
    })
}

/// The new spec with the old one's in place of what may change, so that the rest can be compared.
fn without_allowed(new: &Value, old: &Value) -> Value {
    let mut masked = new.clone();
    for list in ["containers", "initContainers"] {
        let containers = masked.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(cells::list(old, list)) {
            crate::keep_field(container, old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        crate::keep_field(&mut masked, old, field);
    }
    if grace_mended(new, old) {
        crate::keep_field(&mut masked, old, "terminationGracePeriodSeconds");
    }
    if !is_empty(child(old, "schedulingGates")) {
        crate::keep_field(&mut masked, old, "nodeSelector");
        let affinity = &mut masked["affinity"];
        if affinity.is_null() {
            *affinity = Value::Object(Map::new());
        }
        crate::keep_field(affinity, child(old, "affinity"), "nodeAffinity");
        if is_empty(affinity) {
            crate::keep_field(&mut masked, &Value::Null, "affinity");
        }
    }
    masked
}

/// Ephemeral containers may be added; those that are there stay as they are, in whatever order.
pub(crate) fn validate_ephemeral(object: &Value, old: &Value, errors: &mut ErrorList) {
    const TYPE: &str = "EphemeralContainer";
    let root = At::root(object);
    let at = root.field("spec.ephemeralContainers");
    // Of one name, the last counts.
    let now: HashMap<&str, &Value> = at.list().iter().map(|one| (object::str_at(one, "name"), one)).collect();
    for before in cells::list(child(old, "spec"), "ephemeralContainers") {
        let name = object::str_at(before, "name");
        let existing = format!("existing ephemeral containers {}", quoted(name));
        match now.get(name) {
            None => at.forbidden(errors, &format!("{existing} may not be removed\n")),
            Some(now) if !internal::same(TYPE, now, before) => {
                let difference = internal::difference(TYPE, before, now);
                at.forbidden(errors, &format!("{existing} may not be changed\n{difference}"));
            }
            Some(_) => {}
        }
    }
}

/// A negative grace period of an old pod may become 1.
fn grace_mended(new: &Value, old: &Value) -> bool {
    let of = |spec: &Value| child(spec, "terminationGracePeriodSeconds").as_i64();
    of(new) == Some(1) && of(old).is_some_and(|seconds| seconds < 0)
}
