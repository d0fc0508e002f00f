//! Validation of Services.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::list::{core_service_families as families, core_service_update as update};
use crate::{cells, formats, selectors};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
/// Seconds a client may stick to a pod.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

const FOR_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

/// `old` is what is stored; what it says already may stay, whatever the rules were then.
pub(crate) fn validate(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let before = errors.len();
    families::validate(object, old, errors);
    if errors.len() > before {
        return;
    }
    if let Some(old) = old {
        update::validate(object, old, errors);
    }
    let root = At::root(object);
    let spec = root.field("spec");
    let kind = spec.field("type");
    let headless = families::is_headless(spec.value);
    validate_topology_annotations(&root, errors);
    if spec.field("ports").is_empty() && !headless && kind.str() != "ExternalName" {
        spec.field("ports").required(errors, "");
    }
    validate_of_type(&spec, headless, errors);
    validate_ports(&spec, errors);
    selectors::labels(&spec.field("selector"), errors);
    validate_affinity(&spec, errors);
    families::validate_related(&spec, old, errors);
    let known: HashSet<&str> = texts(old, "spec.externalIPs").collect();
    for ip in spec.field("externalIPs").items() {
        let before = errors.len();
        if !known.contains(ip.str()) {
            ip.format(errors, formats::ip);
        }
        if errors.len() == before {
            formats::not_special_ip(&ip, errors);
        }
    }
    kind.need_one_of(errors, &TYPES);
    validate_numbers(&spec, errors);
    validate_source_ranges(&root, old, errors);
    validate_load_balancer(&spec, errors);
    validate_traffic(&spec, errors);
    let distribution = spec.field("trafficDistribution");
    if distribution.present() && !DISTRIBUTIONS.contains(&distribution.str()) {
        distribution.unsupported_listed(errors, &DISTRIBUTIONS);
    }
}

/// The strings of a list that is stored.
fn texts<'v>(old: Option<&'v Value>, list: &str) -> impl Iterator<Item = &'v str> {
    old.map_or(&[][..], |old| cells::list(old, list)).iter().filter_map(Value::as_str)
}

/// The old annotation and the new one say the same.
fn validate_topology_annotations(root: &At<'_>, errors: &mut ErrorList) {
    const OLD: &str = "service.kubernetes.io/topology-aware-hints";
    const NEW: &str = "service.kubernetes.io/topology-mode";
    let notes = root.field("metadata.annotations");
    if let (Some(old), Some(new)) = (notes.value.get(OLD), notes.value.get(NEW))
        && old != new
    {
        notes.key(NEW).invalid(errors, &format!("must match annotations[{OLD}] when both are specified"));
    }
}

fn validate_of_type(spec: &At<'_>, headless: bool, errors: &mut ErrorList) {
    let kind = spec.field("type");
    match kind.str() {
        "LoadBalancer" | "NodePort" if headless => {
            let ips = spec.field("clusterIPs");
            let first = Value::from("None");
            let detail = format!("may not be set to 'None' for {} services", kind.str());
            errors.invalid(&ips.path().index(0), &first, &detail);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let at = spec.field(field);
                let set = if field == "ipFamilyPolicy" { at.present() } else { !at.is_empty() };
                if set {
                    at.forbidden(errors, "may not be set for ExternalName services");
                }
            }
            let name = spec.field("externalName");
            let text = name.str().strip_suffix('.').unwrap_or(name.str());
            if text.is_empty() {
                name.required(errors, "");
            } else {
                let shown = Value::from(text);
                name.with(&shown).format(errors, names::dns1123_subdomain);
            }
        }
        _ => {}
    }
}

fn validate_ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.field("ports");
    let mut names_seen = HashSet::new();
    for port in ports.items() {
        validate_port(&port, ports.list().len() > 1, &mut names_seen, errors);
    }
}

/// No two ports have one number, here or on the nodes.
fn validate_numbers(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.field("ports");
    let node_port = |port: &At<'_>| port.field("nodePort").int().filter(|number| *number != 0);
    if spec.field("type").str() == "ClusterIP" {
        for port in ports.items().filter(|port| node_port(port).is_some()) {
            port.field("nodePort").forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut seen, mut on_nodes) = (HashSet::new(), HashSet::new());
    for port in ports.items() {
        let protocol = object::str_at(port.value, "protocol");
        if node_port(&port).is_some_and(|number| !on_nodes.insert((protocol, number))) {
            port.field("nodePort").duplicate(errors);
        }
    }
    for port in ports.items() {
        let protocol = object::str_at(port.value, "protocol");
        let number = child(port.value, "port").as_i64().unwrap_or(0);
        if !seen.insert((protocol, number)) {
            let protocol = Value::from(protocol);
            let shown = format!(
                r#"{{"Name":"","Protocol":{protocol},"AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#
            );
            errors.duplicate_printed(&port.path(), &shown, "");
        }
    }
}

fn validate_port<'a>(port: &At<'a>, several: bool, seen: &mut HashSet<&'a str>, errors: &mut ErrorList) {
    let (name, target) = (port.field("name"), port.field("targetPort"));
    if name.is_empty() {
        if several {
            name.required(errors, "");
        }
    } else {
        name.format(errors, names::dns1123_label);
        if !seen.insert(object::str_at(port.value, "name")) {
            name.duplicate(errors);
        }
    }
    formats::port(&port.field("port"), errors);
    port.field("protocol").need_one_of(errors, &["SCTP", "TCP", "UDP"]);
    formats::port_or_name(&target, errors);
    let application = port.field("appProtocol");
    if application.present() {
        application.format(errors, names::qualified_name);
    }
}

fn validate_affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let (affinity, config) = (spec.field("sessionAffinity"), spec.field("sessionAffinityConfig"));
    affinity.need_one_of(errors, &["ClientIP", "None"]);
    if affinity.str() == "None" && config.present() {
        config.forbidden(errors, "must not be set when session affinity is None");
    }
    if affinity.str() != "ClientIP" {
        return;
    }
    let client = config.field("clientIP");
    let seconds = client.field("timeoutSeconds");
    for at in [&config, &client, &seconds] {
        if !at.present() {
            return at.required(errors, "when session affinity type is ClientIP");
        }
    }
    if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds.int().unwrap_or(0)) {
        seconds.invalid(errors, &format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
    }
}

/// The field, whose name upstream writes in large, or else the annotation it was before.
fn validate_source_ranges(root: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = root.field("spec");
    let wrong_type = spec.field("type").str() != "LoadBalancer";
    let ranges = spec.field("LoadBalancerSourceRanges").with(child(spec.value, "loadBalancerSourceRanges"));
    if !ranges.is_empty() {
        if wrong_type {
            ranges.forbidden(errors, FOR_LOAD_BALANCERS);
        }
        let known: HashSet<&str> = texts(old, "spec.loadBalancerSourceRanges").map(str::trim).collect();
        for range in ranges.items().filter(|range| !known.contains(range.str().trim())) {
            let trimmed = Value::from(range.str().trim());
            range.with(&trimmed).format(errors, formats::cidr);
        }
        return;
    }
    let notes = root.field("metadata.annotations");
    let said = notes.key(ANNOTATION);
    if !said.present() {
        return;
    }
    if wrong_type {
        said.forbidden(errors, FOR_LOAD_BALANCERS);
    }
    let text = said.str().trim();
    if text.is_empty() || old.and_then(|old| object::annotation(old, ANNOTATION)) == Some(said.str()) {
        return;
    }
    for range in text.split(',') {
        let range = Value::from(range.trim());
        said.with(&range).format(errors, formats::cidr);
    }
}

fn validate_load_balancer(spec: &At<'_>, errors: &mut ErrorList) {
    let is_load_balancer = spec.field("type").str() == "LoadBalancer";
    let allocate = spec.field("allocateLoadBalancerNodePorts");
    if allocate.present() && !is_load_balancer {
        allocate.forbidden(errors, FOR_LOAD_BALANCERS);
    }
    if !allocate.present() && is_load_balancer {
        // Upstream leaves the spec out of the path.
        At::named(allocate.value, "allocateLoadBalancerNodePorts").required(errors, "");
    }
    validate_class(spec, errors);
}

pub(crate) fn validate_class(spec: &At<'_>, errors: &mut ErrorList) {
    let class = spec.field("loadBalancerClass");
    if !class.present() {
        return;
    }
    if spec.field("type").str() == "LoadBalancer" {
        class.format(errors, names::qualified_name);
    } else {
        class.forbidden(errors, FOR_LOAD_BALANCERS);
    }
}

fn validate_traffic(spec: &At<'_>, errors: &mut ErrorList) {
    let kind = spec.field("type");
    let (external, internal, health) =
        (spec.field("externalTrafficPolicy"), spec.field("internalTrafficPolicy"), spec.field("healthCheckNodePort"));
    let reachable = matches!(kind.str(), "NodePort" | "LoadBalancer")
        || (kind.str() == "ClusterIP" && !spec.field("externalIPs").is_empty());
    if reachable {
        external.need_one_of(errors, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid(errors, "may only be set for externally-accessible services");
    }
    let port = health.int().unwrap_or(0);
    let needs_health = kind.str() == "LoadBalancer" && external.str() == "Local";
    // A port that is not asked for is given when the object is stored.
    if needs_health && port != 0 {
        formats::port(&health, errors);
    } else if port != 0 {
        health.invalid(errors, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
    if matches!(kind.str(), "ClusterIP" | "NodePort" | "LoadBalancer") && !internal.present() {
        internal.required(errors, "");
    }
    internal.one_of_if_present(errors, &["Cluster", "Local"]);
}
