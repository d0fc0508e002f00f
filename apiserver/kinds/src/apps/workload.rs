//! What workloads share: selectors over templates, rolling numbers, rows.

use api_machinery::{ErrorList, Value};

use crate::at::{At, IMMUTABLE, child, same};
use crate::list::{core_pod_default, core_pod_spec};
use crate::{ScalePaths, cells, formats, selectors};

/// Where Deployments, ReplicaSets and StatefulSets are scaled.
pub(crate) const SCALE: ScalePaths =
    ScalePaths { spec_replicas: "spec.replicas", status_replicas: "status.replicas", selector: "spec.selector" };

/// Defaults of `spec.template`.
pub(crate) fn default_template(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        core_pod_default::pod_spec(spec);
    }
}

/// `spec.selector`, which must be there, say something and select `spec.template`; upstream's DaemonSets say nothing of an absent one.
pub(crate) fn validate_selector(spec: &At<'_>, workload: &str, absent_is_required: bool, errors: &mut ErrorList) {
    let selector = spec.field("selector");
    if !selector.present() {
        if absent_is_required {
            selector.required(errors, "");
        }
    } else {
        selectors::label_selector(&selector, errors);
        if selectors::says_nothing(selector.value) {
            selector.invalid(errors, &format!("empty selector is invalid for {workload}"));
        }
    }
}

/// `workload` is the kind, as errors name it.
pub(crate) fn validate_template(spec: &At<'_>, workload: &str, errors: &mut ErrorList) {
    let template = spec.field("template");
    core_pod_spec::validate_template_of_workload(&template, workload, errors);
}

/// Whether the selector takes the template's labels. One that is not there takes none; one that says nothing takes
/// all, and is an error of its own.
pub(crate) fn validate_template_selected(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = child(spec.value, "selector");
    let labels = spec.field("template.metadata.labels");
    let selected =
        selector.is_object() && (selectors::says_nothing(selector) || selectors::takes(selector, labels.value));
    selectors::template_is_selected(&labels, selected, errors);
}

pub(crate) fn validate_selector_unchanged(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let selector = root.field("spec.selector");
    if !same(selector.value, child(old, "spec.selector")) {
        selector.invalid(errors, IMMUTABLE);
    }
}

/// An absolute number or a percentage of at most 100.
pub(crate) fn validate_unavailable(at: &At<'_>, errors: &mut ErrorList) {
    formats::count_or_percent(at, errors);
    formats::at_most_100_percent(at, errors);
}

/// Zero as a number or as a percentage; unset counts as zero.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => formats::percent(text) == Some(0),
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

/// The cells Containers, Images and Selector.
pub(crate) fn wide_cells(object: &Value) -> [Value; 3] {
    let [names, images] = cells::containers(object, "spec.template.spec");
    [names, images, cells::selector(child(object, "spec.selector")).into()]
}

/// All status numbers of a status update are not negative.
pub(crate) fn validate_status_counts(object: &Value, fields: &[&str], errors: &mut ErrorList) {
    let root = At::root(object);
    let status = root.field("status");
    for field in fields {
        status.field(field).not_negative(errors);
    }
}

/// Some replicas are no more than all; `detail` where upstream says it in other words.
pub(crate) fn validate_status_order(object: &Value, pairs: &[(&str, &str, &str)], errors: &mut ErrorList) {
    let root = At::root(object);
    let status = root.field("status");
    let of = |field: &str| child(status.value, field).as_i64().unwrap_or(0);
    for (field, most, called) in pairs {
        if of(field) > of(most) {
            status.field(field).invalid(errors, &format!("cannot be greater than {called}"));
        }
    }
}

/// Of ReplicaSets and their like.
pub(crate) const REPLICA_ORDER: [(&str, &str, &str); 4] = [
    ("fullyLabeledReplicas", "replicas", "status.replicas"),
    ("readyReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "readyReplicas"),
];

/// How often names of revisions collided only grows.
pub(crate) fn validate_collisions(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let count = root.field("status.collisionCount");
    count.not_negative(errors);
    if let Some(before) = child(old, "status.collisionCount").as_i64()
        && count.int().is_none_or(|now| now < before)
    {
        errors.invalid(&count.path(), &count.int().unwrap_or(0).into(), "cannot be decremented");
    }
}
