//! Service.

use std::collections::HashSet;

use api_machinery::ErrorList;
use api_machinery::{GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{child, is_empty};
use crate::list::{core_service_status as service_status, core_service_validation as validation};
use crate::{Kind, cells};

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
        normalize_cluster_ips(object, None);
        default_families(object);
    }
    /// What was allocated stays where the client left it out; what the new type does not have is dropped.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        normalize_cluster_ips(object, Some(old));
        keep_allocated(object, old);
        drop_of_other_type(object, old);
        default_families(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validation::validate(object, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validation::validate_update(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        service_status::validate(object, old, errors);
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

fn kind_of(object: &Value) -> &str {
    object::str_at(object, "spec.type")
}

/// Load balancers, node ports: what outside traffic may come to.
fn externally_accessible(object: &Value) -> bool {
    match kind_of(object) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !is_empty(child(object, "spec.externalIPs")),
        _ => false,
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
    if matches!(kind.as_str(), "" | "ClusterIP" | "NodePort" | "LoadBalancer") {
        default("internalTrafficPolicy", "Cluster".into());
    }
    if kind == "LoadBalancer" {
        default("allocateLoadBalancerNodePorts", true.into());
    }
}

/// Keeps `clusterIP` and `clusterIPs[0]` one, whichever the client wrote.
fn normalize_cluster_ips(object: &mut Value, old: Option<&Value>) {
    if !object["spec"].is_object() {
        return;
    }
    let ip = object::str_at(object, "spec.clusterIP").to_owned();
    let ips = child(object, "spec.clusterIPs");
    let Some(old) = old else {
        if !ip.is_empty() && is_empty(ips) {
            object["spec"]["clusterIPs"] = json!([ip]);
        }
        return;
    };
    let old_ip = object::str_at(old, "spec.clusterIP");
    let untouched = crate::at::same(ips, child(old, "spec.clusterIPs"));
    if ip == old_ip || !untouched {
        return;
    }
    object["spec"]["clusterIPs"] = if ip.is_empty() { Value::Null } else { json!([ip]) };
    drop_null(object, "clusterIPs");
}

fn drop_null(object: &mut Value, field: &str) {
    if let Some(spec) = object["spec"].as_object_mut()
        && spec.get(field).is_some_and(Value::is_null)
    {
        spec.remove(field);
    }
}

fn keep_allocated(object: &mut Value, old: &Value) {
    let needs_ip = |object: &Value| matches!(kind_of(object), "ClusterIP" | "NodePort" | "LoadBalancer");
    if needs_ip(object) && needs_ip(old) {
        keep_spec_if_unset(object, old, "clusterIP");
        keep_spec_if_unset(object, old, "clusterIPs");
        keep_spec_if_unset(object, old, "ipFamilies");
        keep_spec_if_unset(object, old, "ipFamilyPolicy");
    }
    let needs_node_port = |object: &Value| matches!(kind_of(object), "NodePort" | "LoadBalancer");
    if needs_node_port(object) && needs_node_port(old) {
        keep_node_ports(object, old);
    }
    let needs_health_port = |object: &Value| {
        kind_of(object) == "LoadBalancer" && object::str_at(object, "spec.externalTrafficPolicy") == "Local"
    };
    if needs_health_port(object) && needs_health_port(old) {
        keep_spec_if_unset(object, old, "healthCheckNodePort");
    }
}

fn keep_spec_if_unset(object: &mut Value, old: &Value, field: &str) {
    let kept = child(child(old, "spec"), field);
    let own = child(child(object, "spec"), field);
    if (is_empty(own) || own == &json!(0)) && !kept.is_null() {
        object["spec"][field] = kept.clone();
    }
}

/// Ports are the same when protocol and port are.
fn keep_node_ports(object: &mut Value, old: &Value) {
    let protocol = |port: &Value| object::str_at(port, "protocol").to_owned();
    let old_ports = cells::list(old, "spec.ports");
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if cells::int(port, "nodePort") != 0 {
            continue;
        }
        let same = old_ports
            .iter()
            .find(|old| protocol(old) == protocol(port) && cells::int(old, "port") == cells::int(port, "port"));
        if let Some(node_port) = same.and_then(|old| old.get("nodePort")) {
            port["nodePort"] = node_port.clone();
        }
    }
}

/// When the type changes, unchanged fields that only the old type has go away silently.
fn drop_of_other_type(object: &mut Value, old: &Value) {
    let (kind, old_kind) = (kind_of(object).to_owned(), kind_of(old).to_owned());
    let mut drop_if_same = |field: &str| {
        let same = crate::at::same(child(child(object, "spec"), field), child(child(old, "spec"), field));
        if same && let Some(spec) = object["spec"].as_object_mut() {
            spec.remove(field);
        }
    };
    if kind == "ExternalName" && old_kind != "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            drop_if_same(field);
        }
    }
    let external = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if external(&old_kind) && !external(&kind) {
        drop_if_same("externalTrafficPolicy");
        drop_node_ports(object, old);
    }
    if old_kind == "LoadBalancer" && kind != "LoadBalancer" {
        for field in ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            let same = crate::at::same(child(child(object, "spec"), field), child(child(old, "spec"), field));
            if same && let Some(spec) = object["spec"].as_object_mut() {
                spec.remove(field);
            }
        }
    }
}

fn drop_node_ports(object: &mut Value, old: &Value) {
    let had: HashSet<i64> = cells::list(old, "spec.ports").iter().map(|port| cells::int(port, "nodePort")).collect();
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        if port.get("nodePort").and_then(Value::as_i64).is_some_and(|own| had.contains(&own)) {
            port.remove("nodePort");
        }
    }
}

/// This cluster has one family; the registry claims the address in it.
fn default_families(object: &mut Value) {
    if kind_of(object) == "ExternalName" || !object["spec"].is_object() {
        return;
    }
    let first = cells::list(object, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or("");
    let family = if first.contains(':') { "IPv6" } else { "IPv4" };
    let spec = &mut object["spec"];
    if is_empty(child(spec, "ipFamilyPolicy")) {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    if is_empty(child(spec, "ipFamilies")) {
        spec["ipFamilies"] = json!([family]);
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
