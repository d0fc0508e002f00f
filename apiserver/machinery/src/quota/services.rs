//! Services: their number, their node ports, and how many are load balancers.

use serde_json::Value;

use super::amounts::{Amounts, ONE, number};
use crate::object;
use crate::quantity::Quantity;

const SERVICES: &str = "services";
const NODE_PORTS: &str = "services.nodeports";
const LOAD_BALANCERS: &str = "services.loadbalancers";

pub(super) fn counts(name: &str) -> bool {
    [SERVICES, NODE_PORTS, LOAD_BALANCERS].contains(&name)
}

pub(super) fn usage(service: &Value) -> Amounts {
    let ports = object::at(service, "spec.ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let chosen = || ports.iter().filter(|port| port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0).count();
    let allocates = object::at(service, "spec.allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    let (node_ports, balancers) = match object::str_at(service, "spec.type") {
        "NodePort" => (number(ports.len()), Quantity::ZERO),
        "LoadBalancer" if allocates => (number(ports.len()), ONE),
        "LoadBalancer" => (number(chosen()), ONE),
        _ => (Quantity::ZERO, Quantity::ZERO),
    };
    let all = [(SERVICES, ONE), (NODE_PORTS, node_ports), (LOAD_BALANCERS, balancers)];
    all.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
}
