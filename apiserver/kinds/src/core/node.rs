//! Node.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child, is_empty};
use crate::list::core_resource_name as resource_name;
use crate::{Kind, cells, formats};

pub(crate) struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl Kind for Node {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "nodes")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}, "spec": {"podCIDR": "10.244.0.0/24"}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// Allocatable is the capacity until the kubelet says otherwise; `podCIDR` and `podCIDRs` agree.
    fn default(&self, object: &mut Value) {
        let capacity = child(object, "status.capacity");
        if !is_empty(capacity) && child(object, "status.allocatable").is_null() {
            object["status"]["allocatable"] = capacity.clone();
        }
        let cidr = object::str_at(object, "spec.podCIDR").to_owned();
        let first = cells::list(object, "spec.podCIDRs").first().and_then(Value::as_str).unwrap_or("").to_owned();
        if !cidr.is_empty() && first != cidr {
            object["spec"]["podCIDRs"] = json!([cidr]);
        } else if cidr.is_empty() && !first.is_empty() {
            object["spec"]["podCIDR"] = first.into();
        }
    }
    /// A kubelet registers itself with its status.
    fn prepare_create(&self, _object: &mut Value, _has_status: bool) {}
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        validate_taints(&At::named(child(object, "spec.taints"), "metadata.taints"), errors);
        for list in ["status.capacity", "status.allocatable"] {
            validate_amounts(&root, list, errors);
        }
        let swap = At::named(child(object, "status.nodeInfo.swap.capacity"), "metadata.nodeSwapStatus.capacity");
        swap.at_least(errors, 1, ABOVE_ZERO);
        validate_features(&root.field("status.declaredFeatures"), errors);
        validate_cidrs(&root.field("spec.podCIDRs"), errors);
    }
    /// Upstream looks at some of it twice.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for list in ["status.capacity", "status.allocatable"] {
            validate_amounts(&root, list, errors);
        }
        validate_features(&root.field("status.declaredFeatures"), errors);
        let addresses = root.field("status.addresses");
        for (index, address) in addresses.items().enumerate() {
            if addresses.list()[..index].contains(address.value) {
                address.duplicate(errors);
            }
        }
        let (cidrs, old_cidrs) = (root.field("spec.podCIDRs"), cells::list(old, "spec.podCIDRs"));
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        if old_cidrs.len() != cidrs.list().len() && !old_cidrs.is_empty() {
            cidrs.forbidden(errors, detail);
        } else {
            for _ in old_cidrs.iter().zip(cidrs.list()).filter(|(old, new)| old != new) {
                cidrs.forbidden(errors, detail);
            }
        }
        let provider = root.field("spec.providerID");
        let before = object::str_at(old, "spec.providerID");
        if !before.is_empty() && provider.str() != before {
            provider.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
        }
        validate_taints(&At::named(child(object, "spec.taints"), "metadata.taints"), errors);
        let external = root.field("spec.externalID");
        if external.str() != object::str_at(old, "spec.externalID") {
            external.forbidden(errors, "may not be updated");
        }
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for list in ["status.capacity", "status.allocatable"] {
            validate_amounts(&root, list, errors);
        }
        validate_features(&root.field("status.declaredFeatures"), errors);
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "spec.unschedulable").then(|| unschedulable(object).to_string())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let info = |field: &str, other: &str| cells::text_or(child(object, "status.nodeInfo"), field, other);
        Some(vec![
            cells::name(object),
            status(object).into(),
            roles(object).into(),
            cells::age(object, now),
            info("kubeletVersion", ""),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            info("osImage", "<unknown>"),
            info("kernelVersion", "<unknown>"),
            info("containerRuntimeVersion", "<unknown>"),
        ])
    }
}

fn unschedulable(object: &Value) -> bool {
    child(object, "spec.unschedulable") == &Value::Bool(true)
}

fn status(object: &Value) -> String {
    let ready = match cells::condition(object, "Ready") {
        Some(condition) if object::str_at(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if unschedulable(object) { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(object: &Value) -> String {
    let labels = child(object, "metadata.labels").as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address(object: &Value, kind: &str) -> Value {
    let found = cells::list(object, "status.addresses").iter().find(|one| object::str_at(one, "type") == kind);
    found.map_or_else(|| "<none>".into(), |one| cells::text(one, "address"))
}

/// The path is upstream's: `metadata.taints`.
fn validate_taints(taints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for taint in taints.items() {
        let (value, effect) = (taint.field("value"), taint.field("effect"));
        taint.field("key").format(errors, names::qualified_name);
        let messages = names::label_value(value.str());
        if !messages.is_empty() {
            value.invalid(errors, &messages.join(";"));
        }
        effect.need_one_of(errors, &EFFECTS);
        if !seen.insert((object::str_at(taint.value, "key"), object::str_at(taint.value, "effect"))) {
            errors.duplicate_because(&taint.path(), taint.value, "taints must be unique by key and effect pair");
        }
    }
}

/// The path is dotted, not keyed: `status.capacity.cpu`. Names are anybody's.
fn validate_amounts(root: &At<'_>, list: &str, errors: &mut ErrorList) {
    let amounts = root.field(list);
    for (name, amount) in amounts.entries() {
        resource_name::validate_amount(&amounts.field(name).with(amount.value), name, errors);
    }
}

/// What a kubelet can do: in order, each once, `MyFeature/mySubFeature`.
fn validate_features(features: &At<'_>, errors: &mut ErrorList) {
    let word = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric());
    for (index, feature) in features.items().enumerate() {
        let name = feature.str();
        let shape = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.split('/').all(|part| word(part) && part.starts_with(|c: char| c.is_ascii_alphabetic()));
        if name.len() > names::SUBDOMAIN_MAX_BYTES {
            feature.invalid(errors, &format!("invalid feature name {name:?}: must be no more than 253 characters"));
        } else if !shape {
            let detail = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters \
                 and slashes"
            );
            feature.invalid(errors, &detail);
        }
        let before = index.checked_sub(1).and_then(|before| features.list()[before].as_str()).unwrap_or("");
        if index > 0 && before == name {
            feature.duplicate(errors);
        } else if before > name {
            feature.invalid(errors, "list must be sorted alphabetically");
        }
    }
}

fn validate_cidrs(cidrs: &At<'_>, errors: &mut ErrorList) {
    for cidr in cidrs.items() {
        cidr.format(errors, formats::cidr);
    }
    let families = |v4: bool| {
        cidrs
            .list()
            .iter()
            .filter_map(|one| formats::parse_cidr(one.as_str()?))
            .filter(|one| one.0.is_ipv4() == v4)
            .count()
    };
    if cidrs.list().len() > 2 || families(true) > 1 || families(false) > 1 {
        cidrs.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}
