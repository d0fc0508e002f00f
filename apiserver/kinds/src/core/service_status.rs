//! The status of a Service: what a load balancer answered with.

use api_machinery::{ErrorList, Value, names, object};

use crate::at::At;
use crate::{cells, formats};

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let list = root.field("status.loadBalancer.ingress");
    if object::str_at(object, "spec.type") != "LoadBalancer" && !list.is_empty() {
        return list.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for ingress in list.items() {
        let (ip, mode) = (ingress.field("ip"), ingress.field("ipMode"));
        validate_ip(&ip, old, errors);
        match (mode.present(), ip.is_empty()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            _ => mode.one_of_if_present(errors, &["Proxy", "VIP"]),
        }
        validate_hostname(&ingress, errors);
    }
}

/// Of Ingresses, which have no mode.
pub(crate) fn validate_address(ingress: &At<'_>, old: &Value, errors: &mut ErrorList) {
    validate_ip(&ingress.field("ip"), old, errors);
    validate_hostname(ingress, errors);
}

/// What was said before may be said again.
fn validate_ip(ip: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let mut known = cells::list(old, "status.loadBalancer.ingress").iter();
    if !known.any(|one| object::str_at(one, "ip") == ip.str()) {
        ip.format_if_set(errors, formats::ip);
    }
}

fn validate_hostname(ingress: &At<'_>, errors: &mut ErrorList) {
    let hostname = ingress.field("hostname");
    hostname.format_if_set(errors, names::dns1123_subdomain);
    if formats::parse_ip(hostname.str()).is_some() {
        hostname.invalid(errors, "must be a DNS name, not an IP address");
    }
}
