//! Validation of Services.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::{formats, selectors};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// Seconds a client may stick to a pod.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(crate) fn validate(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let kind = spec.field("type");
    let headless = spec.field("clusterIPs").list().first().is_some_and(|ip| ip == "None");
    if spec.field("ports").is_empty() && !headless && kind.str() != "ExternalName" {
        spec.field("ports").required(errors, "");
    }
    validate_of_type(&spec, headless, errors);
    validate_ports(&spec, errors);
    selectors::labels(&spec.field("selector"), errors);
    validate_affinity(&spec, errors);
    validate_cluster_ips(&spec, errors);
    for ip in spec.field("externalIPs").items() {
        formats::not_special_ip(&ip, errors);
    }
    kind.need_one_of(errors, &TYPES);
    validate_load_balancer(&spec, errors);
    validate_traffic(&spec, errors);
    spec.field("trafficDistribution").one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
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
                if !at.is_empty() {
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
    let kind = spec.field("type");
    let (mut names_seen, mut seen, mut node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for port in ports.items() {
        let name = object::str_at(port.value, "name");
        validate_port(&port, ports.list().len() > 1, errors);
        if !name.is_empty() && names_seen.contains(&name) {
            port.field("name").duplicate(errors);
        }
        names_seen.insert(name);
        let protocol = object::str_at(port.value, "protocol");
        let number = child(port.value, "port").as_i64().unwrap_or(0);
        if seen.contains(&(protocol, number)) {
            port.duplicate(errors);
        }
        seen.insert((protocol, number));
        let node_port = port.field("nodePort");
        let Some(node) = node_port.int().filter(|node| *node != 0) else { continue };
        if kind.str() == "ClusterIP" || kind.str() == "ExternalName" {
            node_port.forbidden(errors, &format!("may not be used when `type` is '{}'", kind.str()));
        }
        if node_ports.contains(&(protocol, node)) {
            node_port.duplicate(errors);
        }
        node_ports.insert((protocol, node));
    }
}

fn validate_port(port: &At<'_>, several: bool, errors: &mut ErrorList) {
    let (name, target) = (port.field("name"), port.field("targetPort"));
    if name.is_empty() {
        if several {
            name.required(errors, "");
        }
    } else {
        name.format(errors, names::dns1123_label);
    }
    formats::port(&port.field("port"), errors);
    port.field("protocol").need_one_of(errors, &["TCP", "UDP", "SCTP"]);
    formats::port_or_name(&target, errors);
    port.field("appProtocol").format_if_set(errors, names::qualified_name);
}

fn validate_affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let (affinity, config) = (spec.field("sessionAffinity"), spec.field("sessionAffinityConfig"));
    affinity.need_one_of(errors, &["ClientIP", "None"]);
    match affinity.str() {
        "ClientIP" => {
            let seconds = config.field("clientIP.timeoutSeconds");
            match seconds.int() {
                None => seconds.required(errors, &format!("when session affinity type is {}", affinity.str())),
                Some(value) if !(1..=MAX_AFFINITY_SECONDS).contains(&value) => {
                    seconds.invalid(errors, &format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
                }
                Some(_) => {}
            }
        }
        "None" if config.present() => {
            config.forbidden(errors, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

/// Addresses and families; whether they are free is decided where they are claimed.
fn validate_cluster_ips(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.field("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    validate_families(spec, errors);
    let first = ips.list().first().and_then(Value::as_str).unwrap_or("");
    if !ips.is_empty() && ip.str() != first {
        ips.invalid(errors, "first value must match `clusterIP`");
    }
    if !ip.is_empty() && ips.is_empty() {
        ips.required(errors, "must be set when `clusterIP` is set");
    }
    if ips.list().len() > 1 && first == "None" {
        ips.invalid(errors, "'None' must be the first and only value");
    }
    for one in ips.items() {
        if one.str() != "None" {
            one.format(errors, formats::ip);
        }
    }
    let parsed: Vec<_> = ips.list().iter().filter_map(|ip| formats::parse_ip(ip.as_str()?)).collect();
    if ips.list().len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    } else if parsed.len() == 2 && parsed[0].is_ipv4() == parsed[1].is_ipv4() {
        ips.invalid(errors, "may specify no more than one IP for each IP family");
    }
    validate_ips_fit_families(spec, &ips, errors);
}

fn validate_families(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.field("ipFamilyPolicy");
    policy.one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    if policy.str() == "RequireDualStack" {
        policy.invalid(errors, "this cluster is not configured for dual-stack services");
    }
    let mut seen = HashSet::new();
    for family in spec.field("ipFamilies").items() {
        let text = family.value.as_str().unwrap_or("");
        if !["IPv4", "IPv6"].contains(&text) {
            family.unsupported(errors, &["IPv4", "IPv6"]);
        } else if seen.contains(text) {
            family.duplicate(errors);
        }
        seen.insert(text.to_owned());
    }
}

fn validate_ips_fit_families(spec: &At<'_>, ips: &At<'_>, errors: &mut ErrorList) {
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

fn validate_load_balancer(spec: &At<'_>, errors: &mut ErrorList) {
    let is_load_balancer = spec.field("type").str() == "LoadBalancer";
    let ranges = spec.field("LoadBalancerSourceRanges").with(child(spec.value, "loadBalancerSourceRanges"));
    if is_load_balancer {
        for range in ranges.items() {
            range.format(errors, formats::cidr);
        }
    } else if !ranges.is_empty() {
        ranges.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
    }
    let (allocate, class) = (spec.field("allocateLoadBalancerNodePorts"), spec.field("loadBalancerClass"));
    if is_load_balancer {
        if !allocate.present() {
            allocate.required(errors, "");
        }
        class.format_if_set(errors, names::qualified_name);
        return;
    }
    for at in [allocate, class] {
        if at.present() {
            at.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
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
    if needs_health {
        health.between(errors, 1, 65_535);
    } else if port != 0 {
        health.invalid(errors, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
    internal.one_of(errors, &["Cluster", "Local"]);
}

pub(crate) fn validate_update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    let external_name = |kind: &str| kind == "ExternalName";
    let old_kind = object::str_at(old_spec, "type");
    if !external_name(old_kind) && !external_name(spec.field("type").str()) {
        let (ips, old_ips) = (spec.field("clusterIPs"), child(old_spec, "clusterIPs"));
        let (new_first, old_first) = (ips.list().first(), old_ips.as_array().and_then(|ips| ips.first()));
        if let Some(old_first) = old_first
            && new_first != Some(old_first)
        {
            let shown = new_first.unwrap_or(&Value::Null);
            errors.invalid(&ips.path().index(0), shown, "may not change once set");
        }
    }
    let class = spec.field("loadBalancerClass");
    let old_class = child(old_spec, "loadBalancerClass");
    if old_kind == "LoadBalancer" && !is_empty(old_class) && class.value != old_class && class.present() {
        class.invalid(errors, "may not change once set");
    }
    let health = spec.field("healthCheckNodePort");
    let old_health = child(old_spec, "healthCheckNodePort").as_i64().unwrap_or(0);
    if old_health != 0 && health.int().is_some_and(|port| port != 0 && port != old_health) {
        health.invalid(errors, IMMUTABLE);
    }
}
