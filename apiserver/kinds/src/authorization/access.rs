//! What the three kinds of access reviews ask, and how they may ask it.

use api_machinery::{ErrorList, Value, names, object};

use crate::at::At;

pub(crate) const GROUP: &str = "authorization.k8s.io";

/// Exactly one thing to be asked about.
pub(crate) fn validate_attributes(spec: &At<'_>, errors: &mut ErrorList) {
    let (resource, path) = (spec.field("resourceAttributes"), spec.field("nonResourceAttributes"));
    match (resource.present(), path.present()) {
        (true, true) => {
            path.invalid(errors, "cannot be specified in combination with resourceAttributes");
        }
        (false, false) => {
            resource.invalid(errors, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
        }
        _ => {}
    }
}

/// Which objects of the resource are asked about.
pub(crate) fn validate_selectors(spec: &At<'_>, errors: &mut ErrorList) {
    let resource = spec.field("resourceAttributes");
    validate_selector(&resource.field("fieldSelector"), false, errors);
    validate_selector(&resource.field("labelSelector"), true, errors);
}

/// Either as a text or in parts; parts with operators this server does not know are somebody else's to judge.
fn validate_selector(selector: &At<'_>, of_labels: bool, errors: &mut ErrorList) {
    if !selector.present() {
        return;
    }
    let (raw, parts) = (selector.field("rawSelector"), selector.field("requirements"));
    match (raw.is_empty(), parts.is_empty()) {
        (false, false) => raw.invalid(errors, "may not specified at the same time as requirements"),
        (true, true) => {
            let detail = format!("when {} is specified, requirements or rawSelector is required", selector.path());
            parts.required(errors, &detail);
        }
        _ => {}
    }
    for part in parts.items() {
        let (values, key) = (part.field("values"), part.field("key"));
        if !of_labels && key.is_empty() {
            key.required(errors, "must be specified");
        }
        match part.field("operator").str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            _ => {}
        }
        if of_labels {
            key.format(errors, names::qualified_name);
            for value in values.items() {
                value.format(errors, names::label_value);
            }
        }
    }
}

/// Nothing is stored of a review, so that it has no metadata but, where it is local, a namespace.
pub(crate) fn validate_metadata(root: &At<'_>, local: bool, errors: &mut ErrorList) {
    let metadata = root.field("metadata");
    let given = |(field, at): (&str, At<'_>)| match field {
        "managedFields" | "uid" | "creationTimestamp" | "deletionTimestamp" | "deletionGracePeriodSeconds" => false,
        "namespace" => !local && !at.is_empty(),
        _ => !at.is_empty(),
    };
    if metadata.entries().any(given) {
        metadata.invalid(errors, if local { "must be empty except for namespace" } else { "must be empty" });
    }
}

/// Somebody to be asked about.
pub(crate) fn validate_user(spec: &At<'_>, errors: &mut ErrorList) {
    let user = spec.field("user");
    if user.is_empty() && spec.field("groups").is_empty() {
        errors.invalid(&user.path(), &Value::from(""), "at least one of user or group must be specified");
    }
}

/// A local review is of its own namespace and of resources only.
pub(crate) fn validate_local(root: &At<'_>, errors: &mut ErrorList) {
    let namespace = root.field("spec.resourceAttributes.namespace");
    if root.field("spec.resourceAttributes").present() && namespace.str() != object::namespace(root.value) {
        namespace.invalid(errors, "must match metadata.namespace");
    }
    let path = root.field("spec.nonResourceAttributes");
    if path.present() {
        path.invalid(errors, "disallowed on this kind of request");
    }
}
