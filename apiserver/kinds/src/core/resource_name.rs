//! Names and amounts of compute resources.

use std::collections::BTreeSet;

use api_machinery::quantity::Quantity;
use api_machinery::{ErrorList, Value, names};

use crate::at::At;
use crate::formats;

/// Nano in one.
const WHOLE: i128 = 1_000_000_000;

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
    ) || is_extended(name)
}

/// What a pod as a whole may ask for.
pub(crate) fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
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

/// `requests` and `limits` of a container.
pub(crate) fn validate_requirements(resources: &At<'_>, errors: &mut ErrorList) {
    validate_lists(resources, validate_for_container, errors);
}

/// Of a pod.
pub(crate) fn validate_requirements_of_pod(resources: &At<'_>, errors: &mut ErrorList) {
    validate_lists(resources, validate_for_pod, errors);
}

/// What a pod needs besides its containers, as the limits of a container are checked, and named.
pub(crate) fn validate_overhead(overhead: &At<'_>, errors: &mut ErrorList) {
    let holder = serde_json::json!({"limits": overhead.value});
    validate_lists(&overhead.with(&holder), validate_for_container, errors);
}

fn validate_lists(resources: &At<'_>, name_check: fn(&At<'_>, &str, &mut ErrorList), errors: &mut ErrorList) {
    if !resources.present() {
        return;
    }
    let (limits, requests) = (resources.field("limits"), resources.field("requests"));
    for (name, amount) in limits.entries() {
        name_check(&amount, name, errors);
        validate_amount(&amount, name, errors);
        validate_pages(&amount, name, errors);
    }
    for (name, amount) in requests.entries() {
        name_check(&amount, name, errors);
        validate_amount(&amount, name, errors);
        validate_pair(&requests, &limits, name, &amount, errors);
        validate_pages(&amount, name, errors);
    }
    let mut all = limits.entries().chain(requests.entries());
    let huge = all.any(|(name, _)| is_huge_page(name));
    let mut all = limits.entries().chain(requests.entries());
    if huge && !all.any(|(name, _)| matches!(name, "cpu" | "memory")) {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}

/// So many whole pages of the size in the name.
fn validate_pages(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    let (Some(size), Some(amount)) = (name.strip_prefix("hugepages-"), formats::quantity(place)) else { return };
    let whole = |size: &Quantity| size.nano > 0 && size.nano % WHOLE == 0;
    let fits = Quantity::parse(size).is_ok_and(|size| whole(&size) && amount.value() % size.value() == 0);
    if !fits {
        let shown = amount.to_string();
        errors.invalid(
            &place.path(),
            &Value::from(shown.as_str()),
            &format!("{shown} is not positive integer multiple of {name}"),
        );
    }
}

fn validate_for_pod(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    let before = errors.len();
    validate(place, name, errors);
    if errors.len() == before && !is_for_pods(name) {
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

/// Devices a container asks for: by the names of the pod's claims, and of requests in them.
pub(crate) fn validate_claims(claims: &At<'_>, of_pod: &BTreeSet<&str>, errors: &mut ErrorList) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in claims.items() {
        let (name, request) = (claim.field("name").str(), claim.field("request"));
        if name.is_empty() {
            claim.required(errors, "");
            continue;
        }
        let shown = Value::from(name);
        if seen.contains(name) {
            errors.duplicate(&claim.path(), &shown);
        } else {
            request.format_if_set(errors, names::dns1123_label);
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{}", request.str()) };
            if seen.contains(&key) {
                errors.duplicate(&claim.path(), &Value::from(key.as_str()));
            } else if request.is_empty() {
                let parts = seen.iter().filter(|key| key.split_once('/').is_some_and(|(of, _)| of == name));
                parts.for_each(|_| errors.duplicate(&claim.path(), &shown));
            }
            seen.insert(key);
        }
        if !of_pod.contains(name) {
            let known: Vec<&str> = of_pod.iter().copied().collect();
            let known = if known.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.not_found_as(&claim.path(), &shown, &detail);
        }
    }
}
