//! What may change of a job once it exists.

use api_machinery::{ErrorList, Value, object};
use serde_json::Map;

use crate::at::{At, IMMUTABLE, child, is_empty, same};
use crate::cells;
use crate::list::{apps_workload as workload, core_internal_json as internal};

/// Fields that never change, and the internal types of those that have one.
const FIXED: [(&str, &str); 5] = [
    ("completionMode", ""),
    ("podFailurePolicy", "PodFailurePolicy"),
    ("backoffLimitPerIndex", ""),
    ("managedBy", ""),
    ("successPolicy", "SuccessPolicy"),
];

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
    validate_completions(&spec, old_spec, errors);
    workload::validate_selector_unchanged(object, old, errors);
    validate_template(&spec, old, errors);
    for (field, of) in FIXED {
        validate_fixed(&spec.field(field), child(old_spec, field), of, errors);
    }
}

/// What is empty is not what is unset.
fn validate_fixed(at: &At<'_>, old: &Value, of: &str, errors: &mut ErrorList) {
    if at.value == old {
        return;
    }
    if of.is_empty() || !at.present() {
        at.invalid(errors, IMMUTABLE);
    } else if old.is_null() || !internal::same(of, at.value, old) {
        errors.invalid_printed(&at.path(), &internal::shown(of, at.value), IMMUTABLE);
    }
}

/// The number of an indexed job may change together with its parallelism.
fn validate_completions(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let at = spec.field("completions");
    if spec.field("completionMode").str() != "Indexed" {
        return at.unchanged(errors, child(old, "completions"));
    }
    let changed = at.present() && !same(at.value, child(old, "completions"));
    if changed && at.int() != spec.field("parallelism").int() {
        at.invalid(errors, "can only be modified in tandem with spec.parallelism");
    }
}

/// Of a suspended job without pods, where its pods may run and what they get may change, as queues want it.
fn validate_template(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let template = spec.field("template");
    let before = child(old, "spec.template");
    if !is_open(old) {
        let (new, old) = (internal_template(template.value), internal_template(before));
        return validate_unchanged(&template, "PodTemplateSpec", [&new, &old], errors);
    }
    let pods = template.field("spec");
    let expected = with_changed_directives(child(before, "spec"), pods.value);
    let (new, old) = (internal::pod_spec(pods.value), internal::pod_spec(&expected));
    // The two steps of the path are one name to upstream, which shows no other.
    validate_unchanged(&spec.field("template.spec"), "PodSpec", [&new, &old], errors);
}

/// The same for what upstream has in a form of its own: the new and the old.
fn validate_unchanged(at: &At<'_>, of: &str, [new, old]: [&Value; 2], errors: &mut ErrorList) {
    if new != old && !internal::same(of, new, old) {
        errors.invalid_printed(&at.path(), &internal::shown(of, new), IMMUTABLE);
    }
}

/// A template as upstream has it: metadata beside the spec.
fn internal_template(template: &Value) -> Value {
    let mut fields = child(template, "metadata").as_object().cloned().unwrap_or_default();
    fields.insert("spec".to_owned(), internal::pod_spec(child(template, "spec")));
    Value::Object(fields)
}

/// Whether the old job is suspended, and has no pods and never had or is known to have none.
fn is_open(old: &Value) -> bool {
    let suspended = child(old, "spec.suspend") == &Value::Bool(true);
    let without = child(old, "status.startTime").is_null() || cells::condition_true(old, "Suspended");
    suspended && without && cells::int(old, "status.active") == 0
}

/// The old pod spec with the new one's scheduling directives and resources.
fn with_changed_directives(old: &Value, new: &Value) -> Value {
    let mut expected = old.clone();
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        crate::keep_field(&mut expected, new, field);
    }
    let mut affinity = match child(old, "affinity") {
        Value::Null => Value::Object(Map::new()),
        some => some.clone(),
    };
    crate::keep_field(&mut affinity, child(new, "affinity"), "nodeAffinity");
    let affinity = Value::Object(Map::from_iter([("affinity".to_owned(), affinity)]));
    let nothing = is_empty(child(&affinity, "affinity")) && is_empty(child(new, "affinity"));
    crate::keep_field(&mut expected, if nothing { new } else { &affinity }, "affinity");
    for list in ["containers", "initContainers"] {
        take_resources(&mut expected, new, list);
    }
    expected
}

fn take_resources(expected: &mut Value, new: &Value, list: &str) {
    let news = cells::list(new, list);
    let olds = expected.get_mut(list).and_then(Value::as_array_mut).filter(|olds| olds.len() == news.len());
    for (old, new) in olds.into_iter().flatten().zip(news) {
        if object::str_at(old, "name") == object::str_at(new, "name") {
            crate::keep_field(old, new, "resources");
        }
    }
}
