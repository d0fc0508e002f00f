//! Service.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{child, is_empty};
use crate::list::core_service_prepare::{self as prepare, externally_accessible, kind_of};
use crate::list::{
    core_service_families as families, core_service_status as service_status, core_service_validation as validation,
    core_service_warnings as service_warnings,
};
use crate::{Kind, cells, meta};

pub(crate) struct Service;

impl Kind for Service {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "services")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}})
    }
    /// A DNS-1123 label: the leading digit is allowed since v1.34 (RelaxedServiceNameValidation).
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn default(&self, object: &mut Value) {
        default_ports(object);
        default_policies(object);
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"loadBalancer": {}});
        prepare::create(object);
    }
    /// What was allocated stays where the client left it out; what the new type does not have is dropped.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        prepare::update(object, old);
    }
    fn validate_before_allocation(&self, object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        families::validate(object, old, errors);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validation::validate(object, None, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validation::validate(object, Some(old), errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        service_status::validate(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        service_warnings::of(object)
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        matches!(field, "spec.clusterIP" | "spec.type").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let internal = cells::list(object, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>");
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.type"),
            internal.into(),
            external_ip(object).into(),
            ports(object).into(),
            cells::age(object, now),
            cells::labels(child(object, "spec.selector")).into(),
        ])
    }
}

fn default_ports(object: &mut Value) {
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        let target = child(port, "targetPort");
        if is_empty(target) || target == &json!(0) {
            port["targetPort"] = port["port"].clone();
        }
    }
}

fn default_policies(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    let kind = kind_of(object).to_owned();
    let external = externally_accessible(object);
    let spec = &mut object["spec"];
    if child(spec, "sessionAffinity") == "None" {
        spec.as_object_mut().map(|spec| spec.remove("sessionAffinityConfig"));
    }
    if child(spec, "sessionAffinity") == "ClientIP"
        && child(spec, "sessionAffinityConfig.clientIP.timeoutSeconds").is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    let mut default = |field: &str, value: Value| {
        if is_empty(child(spec, field)) {
            spec[field] = value;
        }
    };
    if external {
        default("externalTrafficPolicy", "Cluster".into());
    }
    if kind == "LoadBalancer" {
        default("allocateLoadBalancerNodePorts", true.into());
    }
    let internal = matches!(kind.as_str(), "" | "ClusterIP" | "NodePort" | "LoadBalancer");
    if internal && child(spec, "internalTrafficPolicy").is_null() {
        spec["internalTrafficPolicy"] = "Cluster".into();
    }
}

/// `80:30001/TCP,443/TCP`
fn ports(object: &Value) -> String {
    let ports = cells::list(object, "spec.ports");
    if ports.is_empty() {
        return "<none>".to_owned();
    }
    let text = |port: &Value| {
        let (number, protocol) = (cells::int(port, "port"), object::str_at(port, "protocol"));
        match cells::int(port, "nodePort") {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    ports.iter().map(text).collect::<Vec<_>>().join(",")
}

fn external_ip(object: &Value) -> String {
    let external = cells::joined(object, "spec.externalIPs", ",");
    match kind_of(object) {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => {
            let mut all = load_balancer_addresses(object);
            if !external.is_empty() {
                all.extend(external.split(',').map(str::to_owned));
            }
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => object::str_at(object, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses a load balancer answered with, sorted; of Services and Ingresses.
pub(crate) fn load_balancer_addresses(object: &Value) -> Vec<String> {
    let of = |one: &Value| match object::str_at(one, "ip") {
        "" => object::str_at(one, "hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut all: Vec<String> =
        cells::list(object, "status.loadBalancer.ingress").iter().map(of).filter(|one| !one.is_empty()).collect();
    all.sort();
    all.dedup();
    all
}
