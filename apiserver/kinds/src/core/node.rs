//! Node.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::{core_address_warnings as address_warnings, core_node_validation as validation};
use crate::{Kind, cells, meta};

pub(crate) struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

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
    /// A kubelet registers itself with its status, but nothing configures it from here any more.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        drop_inside(object, "spec", "configSource");
        drop_inside(object, "status", "config");
    }
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        if child(old, "spec.configSource").is_null() {
            drop_inside(object, "spec", "configSource");
        }
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        crate::keep_field(object, old, "spec");
        if child(old, "status.config").is_null() {
            drop_inside(object, "status", "config");
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, false, errors);
        validation::validate(object, errors);
    }
    /// Upstream looks at some of it twice.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validation::validate_update(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validation::validate_update(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let mut warnings = Vec::new();
        if root.field("spec.configSource").present() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !root.field("spec.externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        let cidrs = root.field("spec.podCIDRs");
        warnings.extend(cidrs.items().flat_map(|cidr| address_warnings::of_cidr(&cidr)));
        warnings
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

fn drop_inside(object: &mut Value, part: &str, field: &str) {
    if let Some(part) = object.get_mut(part).and_then(Value::as_object_mut) {
        part.remove(field);
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
