//! Endpoints.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::{core_address_warnings as address_warnings, core_internal_json as internal};
use crate::{Kind, cells, formats, meta};

/// So many are shown in a cell.
const SHOWN: usize = 3;

pub(crate) struct Endpoints;

impl Kind for Endpoints {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "endpoints")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "x", "namespace": "default"},
               "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80, "protocol": "TCP"}]}]})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
        if meta::is_new(object) {
            validate_subsets(object, errors);
        }
    }
    /// What does not change may stay, whatever the rules were when it was written.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if !same_items("subsets", "EndpointSubset", object, old) {
            validate_subsets(object, errors);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), endpoints(object).into(), cells::age(object, now)])
    }
}

/// Whether two objects have the same in a list, as upstream sees items of that type: an empty name is not none.
pub(crate) fn same_items(list: &str, of: &str, object: &Value, old: &Value) -> bool {
    let (now, before) = (cells::list(object, list), cells::list(old, list));
    now.len() == before.len() && now.iter().zip(before).all(|(now, before)| internal::same(of, now, before))
}

/// Of addresses, unless the controller made them, which writes them as they should be.
fn warnings(object: &Value) -> Vec<String> {
    if object::label(object, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller") {
        return Vec::new();
    }
    let root = At::root(object);
    let mut warnings = Vec::new();
    for subset in root.field("subsets").items() {
        for list in ["addresses", "notReadyAddresses"].map(|list| subset.field(list)) {
            warnings.extend(list.items().filter_map(|address| address_warnings::of_ip(&address.field("ip"))));
        }
    }
    warnings
}

fn validate_subsets(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    for subset in root.field("subsets").items() {
        validate_subset(&subset, errors);
    }
}

fn validate_subset(subset: &At<'_>, errors: &mut ErrorList) {
    let (ready, not_ready) = (subset.field("addresses"), subset.field("notReadyAddresses"));
    if ready.is_empty() && not_ready.is_empty() {
        subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
    }
    for address in ready.items().chain(not_ready.items()) {
        validate_address(&address, errors);
    }
    let ports = subset.field("ports");
    for port in ports.items() {
        let name = port.field("name");
        if name.is_empty() && ports.list().len() > 1 {
            name.required(errors, "");
        }
        name.format_if_set(errors, names::dns1123_label);
        formats::port(&port.field("port"), errors);
        port.field("protocol").need_one_of(errors, &["TCP", "UDP", "SCTP"]);
        let application = port.field("appProtocol");
        if application.present() {
            application.format(errors, names::qualified_name);
        }
    }
}

fn validate_address(address: &At<'_>, errors: &mut ErrorList) {
    let ip = address.field("ip");
    ip.format(errors, formats::ip);
    address.field("hostname").format_if_set(errors, names::dns1123_label);
    let node = address.field("nodeName");
    if node.present() {
        node.format(errors, names::dns1123_subdomain);
    }
    formats::not_special_ip(&ip, errors);
}

/// `10.0.0.1:80,10.0.0.2:80 + 3 more...`
fn endpoints(object: &Value) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut count = 0;
    for subset in cells::list(object, "subsets") {
        let addresses = cells::list(subset, "addresses");
        let ports = cells::list(subset, "ports");
        for address in addresses {
            let ip = object::str_at(address, "ip");
            if ports.is_empty() {
                count += 1;
                shown.push(ip.to_owned());
            }
            for port in ports {
                count += 1;
                if shown.len() < SHOWN {
                    shown.push(host_port(ip, cells::int(port, "port")));
                }
            }
        }
    }
    if count == 0 {
        return "<none>".to_owned();
    }
    shown.truncate(SHOWN);
    let text = shown.join(",");
    if count > SHOWN { format!("{text} + {} more...", count - SHOWN) } else { text }
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
