//! EndpointSlice.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{At, IMMUTABLE, child};
use crate::generic::changed_besides;
use crate::list::core_address_warnings as address_warnings;
use crate::list::core_endpoints::same_items;
use crate::{Kind, cells, formats, meta};

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;
/// Hints for one endpoint, of zones and of nodes.
const MAX_HINTS: usize = 8;
const ADDRESS_TYPES: [&str; 3] = ["IPv4", "IPv6", "FQDN"];
/// So many are shown in a cell.
const SHOWN: usize = 3;

pub(crate) struct EndpointSlice;

impl Kind for EndpointSlice {
    fn resource(&self) -> GroupResource {
        GroupResource::new("discovery.k8s.io", "endpointslices")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
               "metadata": {"name": "x", "namespace": "default"}, "addressType": "IPv4",
               "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "port": 80, "protocol": "TCP"}]})
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        drop_topology(object, &Value::Null);
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        changed_besides(object, old, &["metadata", "endpoints", "ports"])
            || !same_items("endpoints", "Endpoint", object, old)
            || !same_items("ports", "EndpointSlicePort", object, old)
            || labels(object) != labels(old)
    }
    /// What is stored with topology keeps it while its endpoints stay as they are.
    fn drop_counted(&self, object: &mut Value, old: &Value) {
        if !same_items("endpoints", "Endpoint", object, old) {
            drop_topology(object, old);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
        let root = At::root(object);
        root.field("addressType").need_one_of(errors, &ADDRESS_TYPES);
        validate_ports(&root.field("ports"), errors);
        if meta::is_new(object) {
            validate_endpoints(object, errors);
        }
    }
    /// Endpoints that do not change may stay, whatever the rules were when they were written.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if !same_items("endpoints", "Endpoint", object, old) {
            validate_endpoints(object, errors);
        }
        let root = At::root(object);
        let address_type = root.field("addressType");
        if address_type.str() != object::str_at(old, "addressType") {
            errors.invalid(&address_type.path(), &Value::from(address_type.str()), IMMUTABLE);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if meta::is_new(object) && object::str_at(object, "addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        warnings.extend(address_warnings_of(object));
        warnings
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![
            cells::name(object),
            cells::text(object, "addressType"),
            ports(object).into(),
            addresses(object).into(),
            cells::age(object, now),
        ])
    }
}

/// `None` for an empty map, too.
fn labels(object: &Value) -> Option<&Map<String, Value>> {
    child(object, "metadata.labels").as_object().filter(|labels| !labels.is_empty())
}

/// Topology as v1beta1 had it is read but not written in v1. Of a node that `old` has in this form the name stays, in
/// the field for it.
fn drop_topology(object: &mut Value, old: &Value) {
    let known: HashSet<&str> = cells::list(old, "endpoints").iter().filter_map(node_of).collect();
    let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        let node = node_of(endpoint).filter(|node| known.contains(node) && names::dns1123_subdomain(node).is_empty());
        let node = node.filter(|_| child(endpoint, "nodeName").is_null()).map(str::to_owned);
        let Some(endpoint) = endpoint.as_object_mut() else { continue };
        endpoint.remove("deprecatedTopology");
        if let Some(node) = node {
            endpoint.insert("nodeName".to_owned(), node.into());
        }
    }
}

/// The node that the topology of an endpoint names.
fn node_of(endpoint: &Value) -> Option<&str> {
    child(endpoint, "deprecatedTopology").get("kubernetes.io/hostname")?.as_str().filter(|node| !node.is_empty())
}

/// Of addresses, unless a controller made them, which writes them as they should be.
fn address_warnings_of(object: &Value) -> Vec<String> {
    const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    let manager = object::label(object, "endpointslice.kubernetes.io/managed-by").unwrap_or("");
    let root = At::root(object);
    let mut warnings = Vec::new();
    for endpoint in root.field("endpoints").items().filter(|_| !CONTROLLERS.contains(&manager)) {
        let addresses = endpoint.field("addresses");
        warnings.extend(addresses.items().filter_map(|address| address_warnings::of_ip(&address)));
    }
    warnings
}

fn validate_endpoints(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (endpoints, address_type) = (root.field("endpoints"), object::str_at(object, "addressType"));
    if endpoints.list().len() > MAX_ENDPOINTS {
        return endpoints.too_many(errors, MAX_ENDPOINTS);
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.field("addresses");
        if addresses.is_empty() {
            addresses.required(errors, "must contain at least 1 address");
        } else if addresses.list().len() > MAX_ADDRESSES {
            addresses.too_many(errors, MAX_ADDRESSES);
        }
        validate_addresses(&addresses, address_type, errors);
        for (field, check) in
            [("nodeName", names::dns1123_subdomain as fn(&str) -> Vec<String>), ("hostname", names::dns1123_label)]
        {
            let at = endpoint.field(field);
            if at.present() {
                at.format(errors, check);
            }
        }
        validate_hints(&endpoint.field("hints"), errors);
    }
}

/// Too many of one kind, and nothing more is looked at.
fn validate_hints(hints: &At<'_>, errors: &mut ErrorList) {
    for (field, check) in
        [("forZones", names::label_value as fn(&str) -> Vec<String>), ("forNodes", names::dns1123_subdomain)]
    {
        let list = hints.field(field);
        if list.list().len() > MAX_HINTS {
            return list.too_many(errors, MAX_HINTS);
        }
        let mut seen = HashSet::new();
        for hint in list.items() {
            let name = hint.field("name");
            if !seen.insert(object::str_at(hint.value, "name")) {
                name.duplicate(errors);
            }
            name.format(errors, check);
        }
    }
}

/// A wrong family is said of the list, the address itself is checked at its index.
fn validate_addresses(addresses: &At<'_>, address_type: &str, errors: &mut ErrorList) {
    for address in addresses.items() {
        match address_type {
            "IPv4" | "IPv6" => {
                let wanted = address_type == "IPv4";
                let before = errors.len();
                address.format(errors, if wanted { formats::ip } else { formats::canonical_ip });
                if errors.len() > before {
                    continue;
                }
                if formats::parse_ip(address.str()).is_some_and(|ip| ip.is_ipv4() != wanted) {
                    addresses.with(address.value).invalid(errors, &format!("must be an {address_type} address"));
                }
                formats::not_special_ip(&address, errors);
            }
            "FQDN" => formats::domain_name(&address, errors),
            _ => {}
        }
    }
}

fn validate_ports(ports: &At<'_>, errors: &mut ErrorList) {
    if ports.list().len() > MAX_PORTS {
        return ports.too_many(errors, MAX_PORTS);
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.field("name");
        name.format_if_set(errors, names::dns1123_label);
        if !seen.insert(object::str_at(port.value, "name")) {
            name.duplicate(errors);
        }
        let protocol = port.field("protocol");
        if protocol.present() {
            protocol.exactly_one_of(errors, &["SCTP", "TCP", "UDP"]);
        } else {
            protocol.required(errors, "");
        }
        let application = port.field("appProtocol");
        if application.present() {
            application.format(errors, names::qualified_name);
        }
    }
}

fn ports(object: &Value) -> String {
    let ports = cells::list(object, "ports");
    let texts = ports.iter().map(|port| {
        let name = object::str_at(port, "name");
        match port.get("port").and_then(Value::as_i64) {
            Some(number) => number.to_string(),
            None if !name.is_empty() => name.to_owned(),
            None => "*".to_owned(),
        }
    });
    first_few(texts, ports.is_empty(), "<unset>")
}

fn addresses(object: &Value) -> String {
    let all = || {
        cells::list(object, "endpoints").iter().flat_map(|one| cells::list(one, "addresses")).filter_map(Value::as_str)
    };
    first_few(all().map(str::to_owned), all().next().is_none(), "<unset>")
}

fn first_few(all: impl Iterator<Item = String>, empty: bool, when_empty: &str) -> String {
    if empty {
        return when_empty.to_owned();
    }
    let mut shown: Vec<String> = Vec::with_capacity(SHOWN);
    let mut more = 0;
    for text in all {
        if shown.len() < SHOWN {
            shown.push(text);
        } else {
            more += 1;
        }
    }
    let text = shown.join(",");
    if more > 0 { format!("{text} + {more} more...") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: EndpointSlice = EndpointSlice;

    fn topology(node: &str) -> Value {
        json!({"kubernetes.io/hostname": node, "topology.kubernetes.io/region": "r"})
    }

    fn slice(endpoints: Value) -> Value {
        let mut object = KIND.sample();
        object["endpoints"] = endpoints;
        object
    }

    fn changed(object: &Value, old: &Value) -> Value {
        let mut object = object.clone();
        KIND.drop_counted(&mut object, old);
        object["endpoints"].take()
    }

    #[test]
    fn topology_is_counted_and_then_dropped() {
        let plain = slice(json!([{"addresses": ["10.0.0.1"]}]));
        let told = slice(json!([{"addresses": ["10.0.0.1"], "deprecatedTopology": topology("n")}]));
        let mut created = told.clone();
        KIND.prepare_create(&mut created, false);
        assert_eq!(created, plain);
        assert!(KIND.generation_grows(&told, &plain) && KIND.generation_grows(&plain, &told));
        assert_eq!(changed(&told, &plain), plain["endpoints"]);
        // It is stored, and stays while nothing else happens to the endpoints.
        assert!(!KIND.generation_grows(&told, &told));
        assert_eq!(changed(&told, &told), told["endpoints"]);
    }

    #[test]
    fn of_topology_that_was_stored_the_node_stays() {
        let old = slice(json!([
            {"addresses": ["10.0.0.1"], "deprecatedTopology": topology("n")},
            {"addresses": ["10.0.0.2"], "deprecatedTopology": topology("no_name")}]));
        let new = slice(json!([
            {"addresses": ["10.0.0.9"], "deprecatedTopology": topology("n")},
            {"addresses": ["10.0.0.2"], "deprecatedTopology": topology("no_name")},
            {"addresses": ["10.0.0.3"], "deprecatedTopology": topology("n"), "nodeName": "own"},
            {"addresses": ["10.0.0.4"], "deprecatedTopology": topology("other")},
            {"addresses": ["10.0.0.5"], "deprecatedTopology": {"a": "b"}}]));
        assert_eq!(
            changed(&new, &old),
            json!([
                {"addresses": ["10.0.0.9"], "nodeName": "n"},
                {"addresses": ["10.0.0.2"]},
                {"addresses": ["10.0.0.3"], "nodeName": "own"},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["10.0.0.5"]}])
        );
    }

    #[test]
    fn generations_of_what_is_the_same() {
        let old = slice(json!([{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "z"}]}}]));
        let with = |labels: Value, annotations: Value| {
            let mut object = old.clone();
            object["metadata"]["labels"] = labels;
            object["metadata"]["annotations"] = annotations;
            object
        };
        assert!(!KIND.generation_grows(&with(json!({}), json!({"a": "b"})), &old));
        assert!(KIND.generation_grows(&with(json!({"a": ""}), json!({})), &old));
        let mut more = old.clone();
        more["endpoints"][0]["hints"]["forNodes"] = json!([]);
        assert!(!KIND.generation_grows(&more, &old));
        more["endpoints"][0]["hints"]["forNodes"] = json!([{"name": "n"}]);
        assert!(KIND.generation_grows(&more, &old));
    }

    #[test]
    fn warnings_of_new_and_of_changed_ones() {
        let mut fqdn = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "x"},
            "addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]});
        assert_eq!(KIND.warnings(&fqdn), ["spec.addressType: FQDN endpoints are deprecated"]);
        fqdn["metadata"]["resourceVersion"] = "1".into();
        assert_eq!(KIND.update_warnings(&fqdn, &fqdn), [""; 0]);
        let mut object = slice(json!([{"addresses": ["010.0.0.1"]}]));
        let told = r#"endpoints[0].addresses[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#;
        assert_eq!(KIND.warnings(&object), [told]);
        assert_eq!(KIND.update_warnings(&object, &object), [told]);
        object["metadata"]["labels"] =
            json!({"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
        assert_eq!(KIND.warnings(&object), [""; 0]);
    }
}
