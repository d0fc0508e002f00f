//! What workloads share: selectors over templates, rolling numbers, rows.

use api_machinery::labels::Selector;
use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, IMMUTABLE, child, same};
use crate::list::{core_internal_json as internal, core_pod_default, core_pod_spec, core_pod_warnings};
use crate::{ScalePaths, cells, formats, meta, selectors};

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
            invalid_selector(&selector, &format!("empty selector is invalid for {workload}"), errors);
        }
    }
}

/// A selector as upstream shows it.
pub(crate) fn shown_selector(selector: &Value) -> String {
    if selector.is_null() { selector.to_string() } else { internal::shown("LabelSelector", selector) }
}

pub(crate) fn invalid_selector(selector: &At<'_>, detail: &str, errors: &mut ErrorList) {
    errors.invalid_printed(&selector.path(), &shown_selector(selector.value), detail);
}

/// `workload` is the kind, as errors name it.
pub(crate) fn validate_template(spec: &At<'_>, workload: &str, errors: &mut ErrorList) {
    let template = spec.field("template");
    core_pod_spec::validate_template_of_workload(&template, workload, errors);
}

/// The template and its labels, of which nothing is said where the selector cannot be read.
pub(crate) fn validate_selected_template(spec: &At<'_>, workload: &str, errors: &mut ErrorList) {
    let selector = spec.field("selector");
    if !is_readable(selector.value) {
        return invalid_selector(&selector, "invalid label selector", errors);
    }
    validate_template_selected(spec, errors);
    validate_template(spec, workload, errors);
}

/// Whether a `LabelSelector` object can be matched with labels; one that is not there can.
pub(crate) fn is_readable(selector: &Value) -> bool {
    Selector::from_object(Some(selector)).is_ok()
}

/// Whether the selector takes the template's labels. One that is not there takes none; one that says nothing takes
/// all, and is an error of its own.
pub(crate) fn validate_template_selected(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = child(spec.value, "selector");
    let labels = spec.field("template.metadata.labels");
    let selected =
        selector.is_object() && (selectors::says_nothing(selector) || selectors::takes(selector, labels.value));
    validate_selected(&labels, selected, errors);
}

/// The labels of a template that are not selected; where there are none, `null` is what is shown of them.
pub(crate) fn validate_selected(labels: &At<'_>, selected: bool, errors: &mut ErrorList) {
    if !selected {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
}

/// Warnings about something new whose pods are named after it, and about its template.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = name_warnings(object);
    warnings.extend(template_warnings(object));
    warnings
}

/// Warnings about the template of something new.
pub(crate) fn template_warnings(object: &Value) -> Vec<String> {
    if !meta::is_new(object) {
        return Vec::new();
    }
    core_pod_warnings::of_template(&At::root(object).field("spec.template"))
}

/// Warnings about the template of something that changed; none where only its metadata did.
pub(crate) fn changed_template_warnings(object: &Value, old: &Value) -> Vec<String> {
    if object::generation(object) == object::generation(old) {
        return Vec::new();
    }
    core_pod_warnings::of_template(&At::root(object).field("spec.template"))
}

/// A warning about the name of something new whose pods are named after it.
pub(crate) fn name_warnings(object: &Value) -> Vec<String> {
    let messages = if meta::is_new(object) { names::dns1123_label(object::name(object)) } else { Vec::new() };
    if messages.is_empty() {
        return messages;
    }
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label \
         is recommended: [{}]",
        messages.join(" ")
    )]
}

pub(crate) fn validate_selector_unchanged(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let selector = root.field("spec.selector");
    if !same(selector.value, child(old, "spec.selector")) {
        invalid_selector(&selector, IMMUTABLE, errors);
    }
}

/// An absolute number or a percentage of at most 100.
pub(crate) fn validate_unavailable(at: &At<'_>, errors: &mut ErrorList) {
    formats::count_or_percent(at, errors);
    formats::at_most_100_percent(at, errors);
}

/// Zero as a number or as a percentage; unset counts as zero, and so does a text that is no number.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => formats::percent(text).or_else(|| text.parse().ok()).unwrap_or(0) == 0,
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
            let detail = format!("cannot be greater than {called}");
            errors.invalid(&status.field(field).path(), &of(field).into(), &detail);
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
    if let Some(before) = child(old, "status.collisionCount").as_i64()
        && count.int().is_none_or(|now| now < before)
    {
        errors.invalid(&count.path(), &count.int().unwrap_or(0).into(), "cannot be decremented");
    }
}
