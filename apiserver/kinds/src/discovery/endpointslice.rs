//! EndpointSlice.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE};
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
    /// Only v1beta1 had topology in this form; v1 drops it on the way in.
    fn default(&self, object: &mut Value) {
        let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
        for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
            endpoint.remove("deprecatedTopology");
        }
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        changed_besides(object, old, &["metadata", "endpoints", "ports"])
            || !same_items("endpoints", "Endpoint", object, old)
            || !same_items("ports", "EndpointSlicePort", object, old)
            || object.pointer("/metadata/labels") != old.pointer("/metadata/labels")
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
