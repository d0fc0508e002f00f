//! NetworkPolicy.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::core_address_warnings as address_warnings;
use crate::{Kind, cells, formats, meta, selectors};

pub(crate) struct NetworkPolicy;

/// Lists of rules, and of the peers in each.
const RULES: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const TYPES: [&str; 2] = ["Ingress", "Egress"];

impl Kind for NetworkPolicy {
    fn resource(&self) -> GroupResource {
        GroupResource::new("networking.k8s.io", "networkpolicies")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
               "metadata": {"name": "x", "namespace": "default"}, "spec": {"podSelector": {}}})
    }
    /// Egress is restricted only by a policy that says something of it.
    fn default(&self, object: &mut Value) {
        if !object["spec"].is_object() || !is_empty(child(object, "spec.policyTypes")) {
            return;
        }
        let egress = !is_empty(child(object, "spec.egress"));
        object["spec"]["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    /// To upstream an empty list is another one than none here, and what is stored has none: every write that says
    /// `ingress: []` counts.
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        child(object, "spec") != child(old, "spec")
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_spec(object, &HashSet::new(), errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if !meta::is_new(object) {
            validate_spec(object, &blocks(old), errors);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let spec = root.field("spec");
        let mut warnings = Vec::new();
        for (rules, peers) in RULES {
            for rule in spec.field(rules).items() {
                for peer in rule.field(peers).items() {
                    let block = peer.field("ipBlock");
                    warnings.extend(address_warnings::of_cidr(&block.field("cidr")));
                    for except in block.field("except").items() {
                        warnings.extend(address_warnings::of_cidr(&except));
                    }
                }
            }
        }
        warnings
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let selector = cells::selector(child(object, "spec.podSelector"));
        Some(vec![cells::name(object), selector.into(), cells::age(object, now)])
    }
}

/// `known`: address blocks that are as they are, whatever they are.
fn validate_spec(object: &Value, known: &HashSet<&str>, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    selectors::label_selector(&spec.field("podSelector"), errors);
    for (rules, peers) in RULES {
        for rule in spec.field(rules).items() {
            for port in rule.field("ports").items() {
                validate_port(&port, errors);
            }
            for peer in rule.field(peers).items() {
                validate_peer(&peer, known, errors);
            }
        }
    }
    let types = spec.field("policyTypes");
    if types.list().len() > 2 {
        return types.invalid(errors, "may not specify more than two policyTypes");
    }
    for kind in types.items() {
        if !TYPES.contains(&kind.str()) {
            kind.unsupported_listed(errors, &TYPES);
        }
    }
}

/// Every address block of a policy.
fn blocks(object: &Value) -> HashSet<&str> {
    let mut blocks = HashSet::new();
    for (rules, peers) in RULES {
        for rule in cells::list(child(object, "spec"), rules) {
            for peer in cells::list(rule, peers) {
                blocks.extend(child(peer, "ipBlock.cidr").as_str());
                blocks.extend(cells::list(peer, "ipBlock.except").iter().filter_map(Value::as_str));
            }
        }
    }
    blocks
}

fn validate_port(rule: &At<'_>, errors: &mut ErrorList) {
    let protocol = rule.field("protocol");
    if protocol.present() && !PROTOCOLS.contains(&protocol.str()) {
        protocol.unsupported_listed(errors, &PROTOCOLS);
    }
    let (port, end) = (rule.field("port"), rule.field("endPort"));
    match port.value {
        Value::Null if end.present() => end.invalid(errors, "may not be specified when `port` is not specified"),
        Value::Null => {}
        Value::String(_) => {
            if end.present() {
                end.invalid(errors, "may not be specified when `port` is non-numeric");
            }
            formats::port_or_name(&port, errors);
        }
        _ => {
            formats::port(&port, errors);
            if end.present() {
                validate_end(&end, port.value, errors);
            }
        }
    }
}

fn validate_end(end: &At<'_>, port: &Value, errors: &mut ErrorList) {
    if end.int() < port.as_i64() {
        // Upstream shows where the range begins.
        errors.invalid(&end.path(), port, "must be greater than or equal to `port`");
    }
    formats::port(end, errors);
}

fn validate_peer(peer: &At<'_>, known: &HashSet<&str>, errors: &mut ErrorList) {
    let (pods, namespaces, block) = (peer.field("podSelector"), peer.field("namespaceSelector"), peer.field("ipBlock"));
    selectors::label_selector(&pods, errors);
    selectors::label_selector(&namespaces, errors);
    if block.present() {
        validate_block(&block, known, errors);
    }
    match (pods.present() || namespaces.present(), block.present()) {
        (false, false) => peer.required(errors, "must specify a peer"),
        (true, true) => peer.forbidden(errors, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn validate_block(block: &At<'_>, known: &HashSet<&str>, errors: &mut ErrorList) {
    let cidr = block.field("cidr");
    if cidr.is_empty() {
        return cidr.required(errors, "");
    }
    validate_cidr(&cidr, known, errors);
    let Some(outer) = formats::parse_cidr(cidr.str()) else { return };
    for except in block.field("except").items() {
        validate_cidr(&except, known, errors);
        if formats::parse_cidr(except.str()).is_some_and(|inner| !formats::strictly_within(inner, outer)) {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}

fn validate_cidr(cidr: &At<'_>, known: &HashSet<&str>, errors: &mut ErrorList) {
    if !known.contains(cidr.str()) {
        cidr.format(errors, formats::cidr);
    }
}
