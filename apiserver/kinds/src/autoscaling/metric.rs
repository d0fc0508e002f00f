//! Metrics that pods are counted by: what they are measured at, and what they are to be.

use api_machinery::{ErrorList, Value, names};

use crate::at::{At, POSITIVE};
use crate::formats;
use crate::list::core_resource_name as resource_name;

/// Types of metrics, and the field of each.
pub(crate) const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("External", "external"),
    ("ContainerResource", "containerResource"),
];

/// What is scaled, or what a metric is about.
pub(crate) fn validate_reference(reference: &At<'_>, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        let at = reference.field(field);
        if at.need(errors) {
            at.format(errors, names::path_segment);
        }
    }
}

/// `GROUP/VERSION`; only what is in the core group has none.
pub(crate) fn validate_version(version: &At<'_>, in_core: bool, errors: &mut ErrorList) {
    let text = version.str();
    let (group, rest) = text.split_once('/').unwrap_or(("", text));
    let detail = if rest.contains('/') {
        format!("unexpected GroupVersion string: {text}")
    } else if group.is_empty() && !in_core {
        "apiVersion must specify API group".to_owned()
    } else {
        return;
    };
    errors.invalid(&version.path(), &Value::from(text), &detail);
}

/// Exactly the source that the type names. Of several, the first one is looked at.
pub(crate) fn validate(metric: &At<'_>, errors: &mut ErrorList) {
    const ORDER: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];
    let kind = metric.field("type");
    let all = SOURCES.map(|(name, _)| name);
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    kind.exactly_one_of(errors, &all);
    let present: Vec<&str> = ORDER.into_iter().filter(|field| metric.field(field).present()).collect();
    if let Some(first) = present.first() {
        validate_source(first, &metric.field(first), errors);
    }
    let wanted = SOURCES.iter().find(|(name, _)| *name == kind.str()).map(|(_, field)| *field);
    match wanted {
        Some(field) if !present.contains(&field) => {
            metric.field(field).required(errors, "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream says it twice.
        None => kind.exactly_one_of(errors, &all),
    }
    for field in present.iter().filter(|field| present.len() > 1 && Some(**field) != wanted) {
        metric.field(field).forbidden(errors, "must populate the given metric source only");
    }
}

fn validate_source(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    let target = source.field("target");
    if kind == "resource" || kind == "containerResource" {
        let name = source.field("name");
        if name.is_empty() {
            name.required(errors, "must specify a resource name");
        } else if kind == "containerResource" {
            resource_name::validate_for_container(&name, name.str(), errors);
        }
        if kind == "containerResource" {
            let container = source.field("container");
            if container.is_empty() {
                container.required(errors, "must specify a container");
            } else {
                container.format(errors, names::dns1123_label);
            }
        }
        validate_target(&target, errors);
        return validate_amount_of_resource(&target, errors);
    }
    if kind == "object" {
        let described = source.field("describedObject");
        validate_reference(&described, errors);
        validate_version(&described.field("apiVersion"), true, errors);
    }
    let name = source.field("metric.name");
    if name.is_empty() {
        name.required(errors, "must specify a metric name");
    } else {
        name.format(errors, names::path_segment);
    }
    validate_target(&target, errors);
    validate_amount_of_metric(kind, &target, errors);
}

fn validate_amount_of_resource(target: &At<'_>, errors: &mut ErrorList) {
    let (utilization, average) = (target.field("averageUtilization"), target.field("averageValue"));
    match (utilization.present(), average.present()) {
        (false, false) => {
            utilization.required(errors, "must set either a target raw value or a target utilization");
        }
        (true, true) => average.forbidden(errors, "may not set both a target raw value and a target utilization"),
        _ => {}
    }
}

fn validate_amount_of_metric(kind: &str, target: &At<'_>, errors: &mut ErrorList) {
    let (value, average) = (target.field("value"), target.field("averageValue"));
    let detail = match (kind, value.present(), average.present()) {
        ("pods", _, false) => "must specify a positive target averageValue",
        ("object", false, false) => "must set either a target value or averageValue",
        ("external", false, false) => "must set either a target value for metric or a per-pod target",
        ("external", true, true) => {
            return value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        _ => return,
    };
    average.required(errors, detail);
}

fn validate_target(target: &At<'_>, errors: &mut ErrorList) {
    let kind = target.field("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.str()) {
        errors.invalid(&kind.path(), &kind.str().into(), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let at = target.field(field);
        if formats::quantity(&at).is_some_and(|amount| amount.nano <= 0) {
            at.invalid(errors, "must be positive");
        }
    }
    target.field("averageUtilization").at_least(errors, 1, POSITIVE);
}
