//! Validation of Services.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::{cells, formats, selectors};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// Seconds a client may stick to a pod.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(crate) fn validate(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let kind = spec.field("type");
    let headless = is_headless(spec.value);
    validate_topology_annotations(&root, errors);
    if spec.field("ports").is_empty() && !headless && kind.str() != "ExternalName" {
        spec.field("ports").required(errors, "");
    }
    validate_of_type(&spec, headless, errors);
    validate_ports(&spec, errors);
    selectors::labels(&spec.field("selector"), errors);
    validate_affinity(&spec, errors);
    validate_cluster_ips(&spec, errors);
    for ip in spec.field("externalIPs").items() {
        let before = errors.len();
        ip.format(errors, formats::ip);
        if errors.len() == before {
            formats::not_special_ip(&ip, errors);
        }
    }
    kind.need_one_of(errors, &TYPES);
    validate_numbers(&spec, errors);
    validate_source_ranges(&root, errors);
    validate_load_balancer(&spec, errors);
    validate_traffic(&spec, errors);
    let distribution = spec.field("trafficDistribution");
    distribution.one_of_if_present(errors, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
}

/// Without an address of its own.
fn is_headless(spec: &Value) -> bool {
    matches!(child(spec, "clusterIPs").as_array().map(Vec::as_slice), Some([only]) if only == "None")
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
                for message in names::dns1123_subdomain(text) {
                    name.invalid(errors, &message);
                }
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
            let shown = json!({"Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number,
                "TargetPort": 0, "NodePort": 0});
            errors.duplicate(&port.path(), &shown);
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

/// Addresses and families; whether they are free is decided where they are claimed.
fn validate_cluster_ips(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.field("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    validate_first(&ip, &ips, errors);
    validate_families(spec, errors);
    let invalid = validate_addresses(&ips, errors);
    if ips.list().len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    if invalid {
        return;
    }
    let families: HashSet<bool> =
        ips.list().iter().filter_map(|ip| formats::parse_ip(ip.as_str()?)).map(|ip| ip.is_ipv4()).collect();
    if ips.list().len() > 1 && families.len() < 2 {
        ips.invalid(errors, "may specify no more than one IP for each IP family");
    }
    validate_ips_fit_families(spec, &ips, errors);
}

/// The list begins with the address.
fn validate_first(ip: &At<'_>, ips: &At<'_>, errors: &mut ErrorList) {
    let first = ips.list().first().and_then(Value::as_str);
    match (ip.str(), first) {
        ("", Some(_)) => ips.invalid(errors, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => ips.required(errors, ""),
        (ip, Some(first)) if ip != first => ips.invalid(errors, "first value must match `clusterIP`"),
        _ => {}
    }
}

/// Answers whether some are none.
fn validate_addresses(ips: &At<'_>, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    for (index, ip) in ips.items().enumerate() {
        if index > 0 || ip.str() != "None" {
            ip.format(errors, formats::ip);
        } else if ips.list().len() > 1 {
            ips.invalid(errors, "'None' must be the first and only value");
        }
    }
    errors.len() > before
}

fn validate_families(spec: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for family in spec.field("ipFamilies").items() {
        let text = family.value.as_str().unwrap_or("");
        family.exactly_one_of(errors, &["IPv4", "IPv6"]);
        if !seen.insert(text.to_owned()) {
            family.duplicate(errors);
        }
    }
    let policy = spec.field("ipFamilyPolicy");
    policy.one_of_if_present(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    if policy.str() == "RequireDualStack" {
        policy.invalid(errors, "this cluster is not configured for dual-stack services");
    }
}

fn validate_ips_fit_families(spec: &At<'_>, ips: &At<'_>, errors: &mut ErrorList) {
    if is_headless(spec.value) {
        return;
    }
    let families = spec.field("ipFamilies");
    for (index, (ip, family)) in ips.list().iter().zip(families.list()).enumerate() {
        let Some(parsed) = ip.as_str().and_then(formats::parse_ip) else { continue };
        let wanted = family.as_str().unwrap_or("");
        if matches!(wanted, "IPv4" | "IPv6") && parsed.is_ipv4() != (wanted == "IPv4") {
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&ips.path().index(index), ip, &detail);
        }
    }
}

/// The field, whose name upstream writes in large, or else the annotation it was before.
fn validate_source_ranges(root: &At<'_>, errors: &mut ErrorList) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    const DETAIL: &str = "may only be used when `type` is 'LoadBalancer'";
    let spec = root.field("spec");
    let wrong_type = spec.field("type").str() != "LoadBalancer";
    let ranges = spec.field("LoadBalancerSourceRanges").with(child(spec.value, "loadBalancerSourceRanges"));
    if !ranges.is_empty() {
        if wrong_type {
            ranges.forbidden(errors, DETAIL);
        }
        for range in ranges.items() {
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
        said.forbidden(errors, DETAIL);
    }
    for range in said.str().trim().split(',').filter(|_| !said.str().trim().is_empty()) {
        let range = Value::from(range.trim());
        said.with(&range).format(errors, formats::cidr);
    }
}

fn validate_load_balancer(spec: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "may only be used when `type` is 'LoadBalancer'";
    let is_load_balancer = spec.field("type").str() == "LoadBalancer";
    let (allocate, class) = (spec.field("allocateLoadBalancerNodePorts"), spec.field("loadBalancerClass"));
    if allocate.present() && !is_load_balancer {
        allocate.forbidden(errors, DETAIL);
    }
    if !allocate.present() && is_load_balancer {
        // Upstream leaves the spec out of the path.
        At::named(allocate.value, "allocateLoadBalancerNodePorts").required(errors, "");
    }
    if class.present() && is_load_balancer {
        class.format(errors, names::qualified_name);
    } else if class.present() {
        class.forbidden(errors, DETAIL);
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
    if needs_health {
        health.between(errors, 0, 65_535);
    } else if port != 0 {
        health.invalid(errors, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
    if matches!(kind.str(), "ClusterIP" | "NodePort" | "LoadBalancer") && !internal.present() {
        internal.required(errors, "");
    }
    internal.one_of_if_present(errors, &["Cluster", "Local"]);
}

pub(crate) fn validate_update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    let kinds = [spec.field("type").str(), object::str_at(old_spec, "type")];
    if !kinds.contains(&"ExternalName") {
        let headless = [is_headless(spec.value), is_headless(old_spec)];
        if headless != [true, true] {
            validate_ips_kept(&spec, old_spec, errors);
        }
        // Addresses that do not fit are found out first, and alone.
        let fit = !errors.causes().iter().any(|cause| cause.field.starts_with("spec.clusterIPs"));
        if headless == [false, false] && fit {
            validate_families_kept(&spec, old_spec, errors);
        }
    }
    let class = spec.field("loadBalancerClass");
    if kinds == ["LoadBalancer", "LoadBalancer"] && class.value != child(old_spec, "loadBalancerClass") {
        class.invalid(errors, "may not change once set");
    }
    let needs_health = |spec: &Value| {
        object::str_at(spec, "type") == "LoadBalancer" && object::str_at(spec, "externalTrafficPolicy") == "Local"
    };
    let health = spec.field("healthCheckNodePort");
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let changed = number(health.value) != number(child(old_spec, "healthCheckNodePort"));
    if needs_health(spec.value) && needs_health(old_spec) && changed {
        health.forbidden(errors, IMMUTABLE);
    }
}

/// The first address stays; a second one may come, and go with the policy that wants one.
fn validate_ips_kept(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let ips = spec.field("clusterIPs");
    let (new, old) = (ips.list(), cells::list(old, "clusterIPs"));
    let say = |index: usize, detail: &str, errors: &mut ErrorList| {
        errors.invalid(&ips.path().index(index), ips.value, detail);
    };
    if new.len() == old.len() {
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            say(index, "may not change once set", errors);
        }
        return;
    }
    if new.is_empty() {
        say(0, "primary clusterIP can not be unset", errors);
    }
    if let (Some(first), Some(before)) = (new.first(), old.first())
        && first != before
    {
        say(0, "may not change once set", errors);
    }
    if new.len() == 1 && old.len() > 1 {
        validate_single(spec, "must be set to 'SingleStack' when releasing the secondary clusterIP", errors);
    }
}

fn validate_single(spec: &At<'_>, detail: &str, errors: &mut ErrorList) {
    let policy = spec.field("ipFamilyPolicy");
    if policy.str() != "SingleStack" {
        policy.invalid(errors, detail);
    }
}

/// As for addresses; upstream names the first one in all errors.
fn validate_families_kept(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let families = spec.field("ipFamilies");
    let (new, old) = (families.list(), cells::list(old, "ipFamilies"));
    let path = || families.path().index(0);
    if new.len() == old.len() {
        for _ in new.iter().zip(old).filter(|(new, old)| new != old) {
            errors.invalid(&path(), families.value, "may not change once set");
        }
        return;
    }
    let ips = child(spec.value, "clusterIPs");
    if new.len() < old.len() && is_empty(ips) {
        errors.invalid(&path(), families.value, "primary ipFamily can not be unset");
    }
    if let (Some(first), Some(before)) = (new.first(), old.first())
        && first != before
    {
        errors.invalid(&path(), ips, "may not change once set");
    }
    if new.len() == 1 && old.len() > 1 {
        validate_single(spec, "must be set to 'SingleStack' when releasing the secondary ipFamily", errors);
    }
}
