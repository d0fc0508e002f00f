//! What becomes of a Service before it is stored: what was given stays, what belongs to another type goes.

use std::collections::{HashMap, HashSet};

use api_machinery::{Value, object};
use serde_json::json;

use crate::at::{child, is_empty, same};
use crate::cells;
use crate::list::core_service_families as families;

pub(crate) fn create(object: &mut Value) {
    normalize_cluster_ips(object, None);
    families::settle(object, None);
    drop_internal_policy(object);
}

pub(crate) fn update(object: &mut Value, old: &Value) {
    keep_allocated(object, old);
    normalize_cluster_ips(object, Some(old));
    families::settle(object, Some(old));
    drop_of_other_type(object, old);
}

pub(crate) fn kind_of(object: &Value) -> &str {
    object::str_at(object, "spec.type")
}

/// Load balancers, node ports: what outside traffic may come to.
pub(crate) fn externally_accessible(object: &Value) -> bool {
    match kind_of(object) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !is_empty(child(object, "spec.externalIPs")),
        _ => false,
    }
}

/// Keeps `clusterIP` and `clusterIPs[0]` one, whichever the client wrote.
fn normalize_cluster_ips(object: &mut Value, old: Option<&Value>) {
    if !child(object, "spec").is_object() {
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
    let (old_ip, old_ips) = (object::str_at(old, "spec.clusterIP"), child(old, "spec.clusterIPs"));
    if ip == old_ip {
        if is_empty(ips) && !is_empty(old_ips) {
            object["spec"]["clusterIPs"] = old_ips.clone();
        }
    } else if same(ips, old_ips) {
        if ip.is_empty() {
            remove(object, "clusterIPs");
        } else {
            object["spec"]["clusterIPs"] = json!([ip]);
        }
    }
}

fn of_spec<'v>(object: &'v Value, field: &str) -> &'v Value {
    child(child(object, "spec"), field)
}

fn remove(object: &mut Value, field: &str) {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove(field);
    }
}

fn is_external_name(object: &Value) -> bool {
    kind_of(object) == "ExternalName"
}

fn may_have_node_ports(object: &Value) -> bool {
    matches!(kind_of(object), "NodePort" | "LoadBalancer")
}

/// Whether ports on the nodes are given without being asked for.
fn is_given_node_ports(object: &Value) -> bool {
    let declined = child(object, "spec.allocateLoadBalancerNodePorts") == &Value::Bool(false);
    kind_of(object) == "NodePort" || (kind_of(object) == "LoadBalancer" && !declined)
}

fn needs_health_port(object: &Value) -> bool {
    kind_of(object) == "LoadBalancer" && object::str_at(object, "spec.externalTrafficPolicy") == "Local"
}

fn keep_allocated(object: &mut Value, old: &Value) {
    if !is_external_name(object) && !is_external_name(old) {
        keep_spec_if_unset(object, old, "clusterIP");
        keep_spec_if_unset(object, old, "clusterIPs");
    }
    if is_given_node_ports(object) && is_given_node_ports(old) {
        keep_node_ports(object, old);
    }
    if needs_health_port(object) && needs_health_port(old) {
        keep_spec_if_unset(object, old, "healthCheckNodePort");
    }
}

fn keep_spec_if_unset(object: &mut Value, old: &Value, field: &str) {
    let (kept, own) = (of_spec(old, field), of_spec(object, field));
    if (is_empty(own) || own == &json!(0)) && !kept.is_null() && child(object, "spec").is_object() {
        object["spec"][field] = kept.clone();
    }
}

fn node_ports(object: &Value) -> HashSet<i64> {
    let numbers = cells::list(object, "spec.ports").iter().map(|port| cells::int(port, "nodePort"));
    numbers.filter(|number| *number != 0).collect()
}

/// A port keeps its number on the nodes by its name, unless another port has taken it over.
fn keep_node_ports(object: &mut Value, old: &Value) {
    let taken: HashSet<i64> = node_ports(old).intersection(&node_ports(object)).copied().collect();
    let numbers = cells::list(old, "spec.ports").iter();
    let numbers: HashMap<&str, i64> =
        numbers.map(|port| (object::str_at(port, "name"), cells::int(port, "nodePort"))).collect();
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if cells::int(port, "nodePort") != 0 {
            continue;
        }
        let number = numbers.get(object::str_at(port, "name")).copied().unwrap_or(0);
        if number != 0 && !taken.contains(&number) {
            port["nodePort"] = number.into();
        }
    }
}

/// When the type changes, unchanged fields that only the old type has go away silently.
fn drop_of_other_type(object: &mut Value, old: &Value) {
    let drop = |object: &mut Value, fields: &[&str]| {
        if fields.iter().all(|field| same(of_spec(object, field), of_spec(old, field))) {
            fields.iter().for_each(|field| remove(object, field));
        }
    };
    if is_external_name(object) && !is_external_name(old) {
        drop(object, &["clusterIP", "clusterIPs"]);
        drop(object, &["ipFamilies"]);
        drop(object, &["ipFamilyPolicy"]);
    }
    if may_have_node_ports(old) && !may_have_node_ports(object) && node_ports(object).is_subset(&node_ports(old)) {
        drop_node_ports(object);
    }
    if needs_health_port(old) && !needs_health_port(object) {
        drop(object, &["healthCheckNodePort"]);
    }
    let balanced = kind_of(object) == "LoadBalancer";
    if kind_of(old) == "LoadBalancer" && !balanced {
        drop(object, &["allocateLoadBalancerNodePorts"]);
        drop(object, &["loadBalancerClass"]);
    }
    if externally_accessible(old) && !externally_accessible(object) {
        drop(object, &["externalTrafficPolicy"]);
    }
    if !balanced {
        object["status"]["loadBalancer"] = json!({});
    }
    drop_internal_policy(object);
}

fn drop_node_ports(object: &mut Value) {
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
}

/// Names of elsewhere are shown without a policy for traffic inside; one that is none stays, to be refused.
fn drop_internal_policy(object: &mut Value) {
    let known = matches!(object::str_at(object, "spec.internalTrafficPolicy"), "Cluster" | "Local");
    if known && is_external_name(object) {
        remove(object, "internalTrafficPolicy");
    }
}
