//! NetworkPolicy.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::{Kind, cells, formats, selectors};

pub(crate) struct NetworkPolicy;

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
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        selectors::label_selector(&spec.field("podSelector"), errors);
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.field(rules).items() {
                for port in rule.field("ports").items() {
                    validate_port(&port, errors);
                }
                for peer in rule.field(peers).items() {
                    validate_peer(&peer, errors);
                }
            }
        }
        let types = spec.field("policyTypes");
        if types.list().len() > 2 {
            return types.invalid(errors, "may not specify more than two policyTypes");
        }
        for kind in types.items() {
            kind.exactly_one_of(errors, &["Ingress", "Egress"]);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let selector = cells::selector(child(object, "spec.podSelector"));
        Some(vec![cells::name(object), selector.into(), cells::age(object, now)])
    }
}

fn validate_port(rule: &At<'_>, errors: &mut ErrorList) {
    rule.field("protocol").one_of_if_present(errors, &["TCP", "UDP", "SCTP"]);
    let (port, end) = (rule.field("port"), rule.field("endPort"));
    if port.present() {
        formats::port_or_name(&port, errors);
    }
    if !end.present() {
        return;
    }
    match port.value {
        Value::Null => end.invalid(errors, "may not be specified when `port` is not specified"),
        Value::String(_) => end.invalid(errors, "may not be specified when `port` is non-numeric"),
        _ => {
            if end.int() < port.int() {
                end.invalid(errors, "must be greater than or equal to `port`");
            }
            formats::port(&end, errors);
        }
    }
}

fn validate_peer(peer: &At<'_>, errors: &mut ErrorList) {
    let (pods, namespaces, block) = (peer.field("podSelector"), peer.field("namespaceSelector"), peer.field("ipBlock"));
    selectors::label_selector(&pods, errors);
    selectors::label_selector(&namespaces, errors);
    if block.present() {
        validate_block(&block, errors);
    }
    match (pods.present() || namespaces.present(), block.present()) {
        (false, false) => peer.required(errors, "must specify a peer"),
        (true, true) => peer.forbidden(errors, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn validate_block(block: &At<'_>, errors: &mut ErrorList) {
    let cidr = block.field("cidr");
    if cidr.is_empty() {
        return cidr.required(errors, "");
    }
    cidr.format(errors, formats::cidr);
    let outer = formats::parse_cidr(cidr.str());
    for except in block.field("except").items() {
        except.format(errors, formats::cidr);
        if let (Some(inner), Some(outer)) = (formats::parse_cidr(except.str()), outer)
            && !formats::strictly_within(inner, outer)
        {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}
