//! Node.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty, same};
use crate::{Kind, cells, formats};

pub(crate) struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

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
        let cidr = object::str_at(object, "spec.podCIDR");
        if !cidr.is_empty() && is_empty(child(object, "spec.podCIDRs")) {
            object["spec"]["podCIDRs"] = json!([cidr]);
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
        validate_cidrs(&root.field("spec.podCIDRs"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let set_once = |field: &str, detail: &str, errors: &mut ErrorList| {
            let (old, at) = (child(old, field), root.field(field));
            if !is_empty(old) && !same(old, at.value) {
                at.forbidden(errors, detail);
            }
        };
        let (cidrs, old_cidrs) = (root.field("spec.podCIDRs"), child(old, "spec.podCIDRs"));
        if !is_empty(old_cidrs) && !same(cidrs.value, old_cidrs) {
            cidrs.invalid(errors, "may not change once set");
        }
        set_once("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid", errors);
        set_once("spec.providerID", "node updates may not change providerID except from \"\" to valid", errors);
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
        let (key, effect) = (taint.field("key"), taint.field("effect"));
        key.format(errors, names::qualified_name);
        taint.field("value").format_if_set(errors, names::label_value);
        effect.need_one_of(errors, &EFFECTS);
        let pair = (object::str_at(taint.value, "key"), object::str_at(taint.value, "effect"));
        if seen.contains(&pair) {
            taint.duplicate(errors);
        }
        seen.insert(pair);
    }
}

/// The path is dotted, not keyed: `status.capacity.cpu`.
fn validate_amounts(root: &At<'_>, list: &str, errors: &mut ErrorList) {
    let amounts = root.field(list);
    for (name, amount) in amounts.entries() {
        let place = amounts.field(name);
        for message in names::qualified_name(name) {
            errors.invalid(&amounts.path(), &Value::from(name), &message);
        }
        formats::quantity_not_negative(&place.with(amount.value), errors);
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
