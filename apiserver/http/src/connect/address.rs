//! Where kubelets, pods and services are, and which addresses may be connected to. Pure.

use std::net::{IpAddr, SocketAddr};

use api_machinery::error::Result;
use api_machinery::object::{name, str_at};
use api_machinery::{ApiError, GroupResource, Value};

/// Where kubelets listen when their Node does not say.
const KUBELET_PORT: u16 = 10250;

/// Kinds of node address in the order they are tried. Names are not resolved: what is checked is what is dialled.
const PREFERRED: [&str; 2] = ["InternalIP", "ExternalIP"];

/// The kubelet of a node.
pub(crate) fn kubelet(node: &Value) -> Result<SocketAddr> {
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of_type = |wanted: &str| {
        let found = addresses.iter().find(|address| address["type"] == wanted)?;
        found["address"].as_str()?.parse::<IpAddr>().ok()
    };
    let found = PREFERRED.iter().find_map(|wanted| of_type(wanted));
    let ip = found.ok_or_else(|| {
        let text = format!("no preferred addresses found; known addresses: {addresses:?}");
        ApiError::new(500, api_machinery::Reason::InternalError, format!("node {:?}: {text}", name(node)))
    })?;
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.filter(|port| *port != 0).unwrap_or(u64::from(KUBELET_PORT));
    let port = u16::try_from(port).map_err(|_| ApiError::internal(format!("node {:?} has a bad port", name(node))))?;
    Ok(SocketAddr::new(ip, port))
}

/// Whether an address given by an object may be connected to on a client's behalf: never this machine,
/// link-local (cloud metadata) or anything that is not one host.
pub(crate) fn may_proxy(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let own = ip.is_loopback() || ip.is_unspecified() || ip.octets()[0] == 0;
            !(own || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => may_proxy(IpAddr::V4(ip)),
            None => !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
        },
    }
}

/// 400 for addresses that [`may_proxy`] refuses.
pub(crate) fn check_proxy(address: SocketAddr) -> Result<SocketAddr> {
    match may_proxy(address.ip()) {
        true => Ok(address),
        false => Err(ApiError::bad_request("address not allowed")),
    }
}

/// `[SCHEME:]NAME[:PORT]`, as proxy paths name pods, services and nodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub https: bool,
    pub name: &'a str,
    pub port: &'a str,
}

/// 400 for another scheme or too many colons.
pub(crate) fn split(text: &str) -> Result<Named<'_>> {
    let refuse = |kind: &str| ApiError::bad_request(format!("invalid {kind} request {text:?}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return Err(refuse("proxy")),
    };
    if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
        return Err(refuse("proxy"));
    }
    Ok(Named { https: scheme == "https", name, port })
}

fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    containers.iter().flat_map(|container| container["ports"].as_array().map_or(&[][..], Vec::as_slice))
}

fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok().filter(|port| *port != 0)
}

/// The address of a pod; without a port it is the first one of its containers.
pub(crate) fn pod(pod: &Value, port: &str) -> Result<SocketAddr> {
    let ip = str_at(pod, "status.podIP").parse().map_err(|_| ApiError::bad_request("address not allowed"))?;
    let port = match port {
        "" => container_ports(pod).find_map(|port| number(&port["containerPort"])).unwrap_or(80),
        text => match text.parse() {
            Ok(port) => port,
            Err(_) => container_ports(pod)
                .find(|port| port["name"] == text)
                .and_then(|port| number(&port["containerPort"]))
                .ok_or_else(|| ApiError::bad_request(format!("no port {text:?} found for pod {:?}", name(pod))))?,
        },
    };
    check_proxy(SocketAddr::new(ip, port))
}

/// The name of a service's port that a path means: by name or number, or the only one.
pub(crate) fn service_port<'a>(service: &'a Value, port: &str) -> Result<&'a str> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let found = match (port, ports) {
        ("", [only]) => Some(only),
        ("", _) => ports.iter().find(|own| own["name"].as_str().unwrap_or("").is_empty()),
        (text, _) => ports
            .iter()
            .find(|own| own["name"] == text || own["port"].as_u64().is_some_and(|port| port.to_string() == text)),
    };
    let found = found.ok_or_else(|| {
        let text = format!("no service port {port:?} found for service {:?}", name(service));
        ApiError { code: 503, ..ApiError::unavailable(text) }
    })?;
    Ok(found["name"].as_str().unwrap_or(""))
}

/// Ready addresses behind a port of a service.
pub(crate) fn endpoints(slices: &[&Value], port_name: &str) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for slice in slices {
        let ports = slice["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let named = ports.iter().find(|port| port["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = named.and_then(|port| number(&port["port"])) else { continue };
        for endpoint in slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice) {
            let ready = endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
            let address = endpoint["addresses"].get(0).and_then(Value::as_str).and_then(|text| text.parse().ok());
            if let (true, Some(ip)) = (ready, address) {
                all.push(SocketAddr::new(ip, port));
            }
        }
    }
    all.retain(|address| may_proxy(address.ip()));
    all
}

/// What a service without endpoints answers.
pub(crate) fn no_endpoints(service: &str) -> ApiError {
    let resource = GroupResource::new("", "services");
    let mut error = ApiError::unavailable(format!("no endpoints available for service {service:?}"));
    error.details = ApiError::not_found(&resource, service).details;
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelet_addresses() {
        let node = json!({"metadata": {"name": "n"}, "status": {"addresses": [
            {"type": "Hostname", "address": "n"}, {"type": "ExternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "10.0.0.7"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10260}}}});
        assert_eq!(kubelet(&node).expect("found").to_string(), "10.0.0.7:10260");
        let bare = json!({"status": {"addresses": [{"type": "InternalIP", "address": "fd00::1"}]}});
        assert_eq!(kubelet(&bare).expect("found").to_string(), "[fd00::1]:10250");
        for bad in [json!({}), json!({"status": {"addresses": [{"type": "InternalIP", "address": "evil.example"}]}})] {
            assert_eq!(kubelet(&bad).expect_err("refused").code, 500);
        }
    }

    #[test]
    fn forbidden_addresses() {
        for (text, want) in [
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("203.0.113.9", true),
            ("fd00::2", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
        ] {
            assert_eq!(may_proxy(text.parse().expect("an address")), want, "{text}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(split("web").ok(), Some(Named { https: false, name: "web", port: "" }));
        assert_eq!(split("web:8080").ok(), Some(Named { https: false, name: "web", port: "8080" }));
        assert_eq!(split("https:web:").ok(), Some(Named { https: true, name: "web", port: "" }));
        for bad in ["ftp:web:1", "a:b:c:d", "https::1", ""] {
            assert_eq!(split(bad).expect_err("refused").code, 400, "{bad}");
        }
    }

    #[test]
    fn services() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}]}});
        assert_eq!(service_port(&service, "443").ok(), Some("b"));
        assert_eq!(service_port(&service, "a").ok(), Some("a"));
        assert_eq!(service_port(&service, "").expect_err("ambiguous").code, 503);
        let slice = json!({"ports": [{"name": "a", "port": 8080}], "endpoints": [
            {"addresses": ["10.1.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
            {"addresses": ["127.0.0.1"]}]});
        let shown: Vec<String> = endpoints(&[&slice], "a").iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.1.0.1:8080"]);
        assert!(endpoints(&[&slice], "b").is_empty());
    }
}
