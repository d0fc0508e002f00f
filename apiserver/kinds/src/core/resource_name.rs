//! Names and amounts of compute resources.

use api_machinery::{ErrorList, Value, names};

use crate::at::At;
use crate::formats;

/// Without a prefix, or with one of Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// `example.com/gpu`
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Amounts of these may exceed what there is.
pub(crate) fn is_overcommittable(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Counted in whole numbers.
pub(crate) fn is_whole(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "services"
            | "replicationcontrollers"
            | "resourcequotas"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || name.starts_with("count/")
        || is_extended(name)
}

pub(crate) fn is_for_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name)
}

/// What a quota may limit without a prefix.
pub(crate) fn is_for_quota(name: &str) -> bool {
    matches!(
        name,
        "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.storage"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
            | "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "persistentvolumeclaims"
            | "configmaps"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

fn is_standard(name: &str) -> bool {
    name == "storage" || is_for_quota(name)
}

fn say(place: &At<'_>, name: &str, errors: &mut ErrorList, detail: &str) {
    errors.invalid(&place.path(), &Value::from(name), detail);
}

/// A qualified name, or a standard one.
pub(crate) fn validate(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        return messages.iter().for_each(|message| say(place, name, errors, message));
    }
    if !name.contains('/') && !is_standard(name) {
        say(place, name, errors, "must be a standard resource type or fully qualified");
    }
}

pub(crate) fn validate_for_container(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    validate(place, name, errors);
    if !name.contains('/') {
        if !is_for_containers(name) {
            say(place, name, errors, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        say(place, name, errors, "doesn't follow extended resource name standard");
    }
}

pub(crate) fn validate_for_quota(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    validate(place, name, errors);
    if !name.contains('/') && !is_for_quota(name) {
        say(place, name, errors, "must be a standard resource for quota");
    }
}

/// Not negative, whole where the resource is.
pub(crate) fn validate_amount(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    formats::quantity_not_negative(place, errors);
    if is_whole(name) {
        formats::quantity_whole(place, errors);
    }
}

/// `requests` and `limits` of a container, or of a pod when `of_pod`.
pub(crate) fn validate_requirements(resources: &At<'_>, of_pod: bool, errors: &mut ErrorList) {
    if !resources.present() {
        return;
    }
    let (limits, requests) = (resources.field("limits"), resources.field("requests"));
    let (mut huge, mut cpu_or_memory) = (false, false);
    for list in [&limits, &requests] {
        for (name, amount) in list.entries() {
            if of_pod {
                validate_for_pod(&amount, name, errors);
            } else {
                validate_for_container(&amount, name, errors);
            }
            validate_amount(&amount, name, errors);
            huge |= is_huge_page(name);
            cpu_or_memory |= matches!(name, "cpu" | "memory");
        }
    }
    for (name, request) in requests.entries() {
        validate_pair(&requests, &limits, name, &request, errors);
    }
    if huge && !cpu_or_memory {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}

fn validate_for_pod(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    validate(place, name, errors);
    if !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.not_supported(&place.path(), &Value::from(name), &["cpu", "hugepages-", "memory"]);
    }
}

/// A request is at most its limit; equal where nothing can be overcommitted.
fn validate_pair(requests: &At<'_>, limits: &At<'_>, name: &str, request: &At<'_>, errors: &mut ErrorList) {
    let limit = limits.key(name);
    let Some(asked) = formats::quantity(request) else { return };
    let shown = || Value::from(asked.to_string());
    match formats::quantity(&limit) {
        None if !is_overcommittable(name) => {
            limits.required(errors, "Limit must be set for non overcommitable resources");
        }
        None => {}
        Some(most) if !is_overcommittable(name) && asked.nano != most.nano => {
            errors.invalid(&requests.path(), &shown(), &format!("must be equal to {name} limit of {most}"));
        }
        Some(most) if asked.nano > most.nano => {
            errors.invalid(
                &requests.path(),
                &shown(),
                &format!("must be less than or equal to {name} limit of {most}"),
            );
        }
        Some(_) => {}
    }
}
