//! `pods/status`: what the kubelet says of a pod, and what may not be said.

use std::collections::{HashMap, HashSet, VecDeque};

use api_machinery::{ErrorList, Value, names, object};
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::list::{core_internal_json as internal, core_pod_extended_resources as extended_resources, core_pod_update};
use crate::{cells, formats};

/// Largest user or group id.
const MAX_ID: i64 = i32::MAX as i64;
/// Bytes of what is said of a device's health.
const MAX_HEALTH_MESSAGE: usize = 1024;
const NOT_NEGATIVE: &str = "must be a non-negative integer";
const OBSERVED: &str = "observedGeneration";
/// Conditions that are Kubernetes' own; the others have qualified names.
const CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const LISTS: [&str; 3] = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

/// Through `/status`: the spec stays, and so do owners and the deletion mark.
pub(crate) fn prepare(object: &mut Value, old: &Value) {
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
    if is_empty(child(object, "status.qosClass")) && !is_empty(class) {
        object["status"]["qosClass"] = class.clone();
    }
    keep_observed(object, old);
}

/// `observedGeneration` is not cleared: neither the status's nor that of a condition. Conditions of one type are told
/// apart by their order.
fn keep_observed(object: &mut Value, old: &Value) {
    let mut before: HashMap<&str, VecDeque<i64>> = HashMap::new();
    for condition in cells::list(old, "status.conditions") {
        before.entry(object::str_at(condition, "type")).or_default().push_back(observed(condition));
    }
    let Some(status) = object.get_mut("status").filter(|status| status.is_object()) else { return };
    let of_status = observed(child(old, "status"));
    if observed(status) == 0 && of_status != 0 {
        status[OBSERVED] = of_status.into();
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let kept = before.get_mut(object::str_at(condition, "type")).and_then(VecDeque::pop_front).unwrap_or(0);
        if observed(condition) == 0 && kept != 0 {
            condition[OBSERVED] = kept.into();
        }
    }
}

fn observed(of: &Value) -> i64 {
    cells::int(of, OBSERVED)
}

/// `podIP` is the first of `podIPs`. Where a client says both and they differ, it is an old one that knows only the
/// former.
pub(crate) fn settle_addresses(pod: &mut Value) {
    let first = cells::list(pod, "status.podIPs").first().map(|one| object::str_at(one, "ip").to_owned());
    let ip = object::str_at(pod, "status.podIP").to_owned();
    match first {
        Some(first) if ip.is_empty() && !first.is_empty() => pod["status"]["podIP"] = first.into(),
        Some(first) if first == ip => {}
        _ if ip.is_empty() => {}
        _ => pod["status"]["podIPs"] = json!([{"ip": ip}]),
    }
}

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (spec, status) = (root.field("spec"), root.field("status"));
    core_pod_update::validate_annotations(&root, old, errors);
    for condition in status.field("conditions").items() {
        condition.field(OBSERVED).at_least(errors, 0, NOT_NEGATIVE);
        let kind = condition.field("type");
        if !CONDITIONS.contains(&kind.str()) {
            kind.renamed("Type").format(errors, names::qualified_name);
        }
    }
    validate_nomination(&status, old, errors);
    status.field(OBSERVED).at_least(errors, 0, NOT_NEGATIVE);
    let class = status.field("qosClass");
    if class.str() != object::str_at(old, "status.qosClass") {
        errors.invalid(&class.path(), &Value::from(class.str()), IMMUTABLE);
    }
    for list in LISTS {
        validate_restarts(&status.field(list), list, old, errors);
    }
    validate_claims(&status.field("resourceClaimStatuses"), &spec, errors);
    extended_resources::validate(&status.field("extendedResourceClaimStatus"), spec.value, errors);
    validate_addresses(&status, "podIPs", child(old, "status.podIPs"), errors);
    validate_host_addresses(&status, child(old, "status.hostIPs"), errors);
    for list in LISTS {
        for one in status.field(list).items() {
            validate_user(&one.field("user"), object::str_at(spec.value, "os.name") == "windows", errors);
        }
    }
    for (list, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        for one in status.field(list).items() {
            validate_health(&one, &spec.field(containers), errors);
        }
    }
    for one in status.field("ephemeralContainerStatuses").items() {
        let health = one.field("allocatedResourcesStatus");
        if !health.is_empty() {
            health.forbidden(errors, "must not be specified in container status");
        }
    }
}

fn validate_nomination(status: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let node = status.field("nominatedNodeName");
    if node.is_empty() || node.str() == object::str_at(old, "status.nominatedNodeName") {
        return;
    }
    node.format(errors, names::dns1123_subdomain);
    if !object::str_at(old, "spec.nodeName").is_empty() {
        node.forbidden(errors, "may not be set on pods that are already bound to a node");
    }
}

/// What ended for good does not come back.
fn validate_restarts(statuses: &At<'_>, list: &str, old: &Value, errors: &mut ErrorList) {
    let spec = child(old, "spec");
    let containers = match list {
        "containerStatuses" => cells::list(spec, "containers"),
        "initContainerStatuses" => cells::list(spec, "initContainers"),
        _ => &[],
    };
    if list != "ephemeralContainerStatuses" && all_may_restart(spec) {
        return;
    }
    for (index, before) in cells::list(child(old, "status"), list).iter().enumerate() {
        let ended = child(before, "state.terminated");
        let name = object::str_at(before, "name");
        let now = statuses.list().iter().find(|one| object::str_at(one, "name") == name);
        if !ended.is_object() || now.is_none_or(|now| child(now, "state.terminated").is_object()) {
            continue;
        }
        let container = containers.iter().find(|one| object::str_at(one, "name") == name);
        if !container.is_some_and(|one| may_restart(one, spec, cells::int(ended, "exitCode"))) {
            let path = statuses.path().index(index).child("state");
            errors.forbidden(&path, "may not be transitioned to non-terminated state");
        }
    }
}

/// A rule of some container may start all of them again.
fn all_may_restart(spec: &Value) -> bool {
    ["initContainers", "containers"].iter().flat_map(|list| cells::list(spec, list)).any(|container| {
        cells::list(container, "restartPolicyRules")
            .iter()
            .any(|rule| object::str_at(rule, "action") == "RestartAllContainers")
    })
}

/// By the container's rules, then by its own policy, then by the pod's.
fn may_restart(container: &Value, spec: &Value, code: i64) -> bool {
    let by_policy = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(code != 0),
        "Never" => Some(false),
        _ => None,
    };
    let own = object::str_at(container, "restartPolicy");
    let matches = |rule: &&Value| {
        let held = cells::list(rule, "exitCodes.values").iter().any(|value| value.as_i64() == Some(code));
        match object::str_at(rule, "exitCodes.operator") {
            "In" => held,
            "NotIn" => !held,
            _ => false,
        }
    };
    if !own.is_empty() && cells::list(container, "restartPolicyRules").iter().any(|rule| matches(&rule)) {
        return true;
    }
    by_policy(own).or_else(|| by_policy(object::str_at(spec, "restartPolicy"))).unwrap_or(true)
}

fn validate_claims(statuses: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let known: HashSet<&str> =
        cells::list(spec.value, "resourceClaims").iter().map(|claim| object::str_at(claim, "name")).collect();
    let mut seen = HashSet::new();
    for status in statuses.items() {
        let (name, text) = (status.field("name"), object::str_at(status.value, "name"));
        if !known.contains(text) {
            name.invalid(errors, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(text) {
            name.duplicate(errors);
        }
        let claim = status.field("resourceClaimName");
        if claim.present() {
            claim.format(errors, names::dns1123_subdomain);
        }
    }
}

/// What was said before may be said again.
fn validate_addresses(status: &At<'_>, field: &str, old: &Value, errors: &mut ErrorList) {
    let addresses = status.field(field);
    let known: Vec<&str> = old.as_array().into_iter().flatten().map(|one| object::str_at(one, "ip")).collect();
    let texts: Vec<&str> = addresses.list().iter().map(|one| object::str_at(one, "ip")).collect();
    for (address, text) in addresses.items().zip(&texts).filter(|(_, text)| !known.contains(*text)) {
        let shown = Value::from(*text);
        address.with(&shown).format(errors, formats::ip);
    }
    if texts.len() < 2 {
        return;
    }
    let parsed: Vec<_> = texts.iter().map(|text| formats::parse_ip(text)).collect();
    if let Some(bad) = parsed.iter().position(Option::is_none) {
        let detail = format!("failed to check for dual stack with error:invalid IP[{bad}]: {}", texts[bad]);
        errors.internal(&addresses.path(), &detail);
    }
    let families: HashSet<_> = parsed.iter().flatten().map(|ip| ip.is_ipv4()).collect();
    if texts.len() > 2 || families.len() < 2 {
        let shown = internal::shown("PodIP", addresses.value);
        errors.invalid_printed(&addresses.path(), &shown, "may specify no more than one IP for each IP family");
    }
}

fn validate_host_addresses(status: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let addresses = status.field("hostIPs");
    let Some(first) = addresses.items().next() else { return };
    let ip = first.field("ip");
    if ip.str() != status.field("hostIP").str() {
        ip.invalid(errors, "must be equal to `hostIP`");
    }
    validate_addresses(status, "hostIPs", old, errors);
}

fn validate_user(user: &At<'_>, windows: bool, errors: &mut ErrorList) {
    let linux = user.field("linux");
    if !linux.present() {
        return;
    }
    if windows {
        return linux.forbidden(errors, "cannot be set for a windows pod");
    }
    linux.field("uid").between(errors, 0, MAX_ID);
    linux.field("gid").between(errors, 0, MAX_ID);
    linux.field("supplementalGroups").items().for_each(|group| group.between(errors, 0, MAX_ID));
}

/// The health of devices: of those the container asked for.
fn validate_health(status: &At<'_>, containers: &At<'_>, errors: &mut ErrorList) {
    let name = object::str_at(status.value, "name");
    let container = containers.list().iter().find(|one| object::str_at(one, "name") == name);
    for resource in status.field("allocatedResourcesStatus").items() {
        let called = resource.field("name");
        if let Some(detail) = container.and_then(|container| unknown_resource(container, called.str())) {
            called.invalid(errors, detail);
        }
        let mut seen = HashSet::new();
        for one in resource.field("resources").items() {
            one.field("health").exactly_one_of(errors, &["Healthy", "Unhealthy", "Unknown"]);
            let message = one.field("message");
            if message.present() && message.is_empty() {
                message.required(errors, "must be non-empty if specified");
            } else if message.str().len() > MAX_HEALTH_MESSAGE {
                message.too_long(errors, MAX_HEALTH_MESSAGE);
            }
            if !seen.insert(object::str_at(one.value, "resourceID")) {
                one.field("resourceID").duplicate(errors);
            }
        }
    }
}

/// Why no container has such a resource.
fn unknown_resource(container: &Value, name: &str) -> Option<&'static str> {
    let Some(claim) = name.strip_prefix("claim:") else {
        let known = child(container, "resources.requests").get(name).is_some();
        return (!known).then_some("must match one of the container's resource requests");
    };
    let matches = |one: &Value| match object::str_at(one, "request") {
        "" => object::str_at(one, "name") == claim,
        request => format!("{}/{request}", object::str_at(one, "name")) == claim,
    };
    let known = cells::list(child(container, "resources"), "claims").iter().any(matches);
    (!known).then_some(
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
         'claim:<claimName>' if request is empty",
    )
}
