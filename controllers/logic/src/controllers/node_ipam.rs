//! A range of pod addresses for every node.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::meta::Meta;
use crate::plan::{Action, PatchType, Plan, Target};
use crate::world::{Change, Key, Kind, World};

pub struct NodeIpamController {
    /// The range all nodes share.
    pub base: Ipv4Addr,
    pub prefix: u8,
    /// Prefix length of the range of one node.
    pub node_prefix: u8,
}

impl Default for NodeIpamController {
    /// `10.244.0.0/16` in pieces of `/24`.
    fn default() -> Self {
        Self { base: Ipv4Addr::new(10, 244, 0, 0), prefix: 16, node_prefix: 24 }
    }
}

impl Controller for NodeIpamController {
    fn name(&self) -> &'static str {
        "node_ipam_controller"
    }
    fn account(&self) -> &'static str {
        "node-controller"
    }
    /// One after the other: two nodes must not get the same range.
    fn workers(&self) -> usize {
        1
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Node if change.is_deletion() => {
                let waiting = world.nodes.iter().filter(|node| ranges(node).is_empty());
                waiting.map(|node| Key::of(&**node)).collect()
            }
            Kind::Node => {
                change.current::<Node>().filter(|node| ranges(node).is_empty()).map(Key::of).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = world.nodes.at(key).filter(|node| ranges(node).is_empty()) else { return plan };
        let taken: HashSet<_> = world.nodes.iter().flat_map(|node| ranges(node)).collect();
        match self.pieces().find(|range| !taken.contains(range.as_str())) {
            Some(range) => {
                let metadata = json!({ "uid": node.uid(), "resourceVersion": node.metadata.resource_version });
                let body = json!({ "metadata": metadata, "spec": { "podCIDR": range, "podCIDRs": [range] } });
                let target = Target::of(&**node);
                plan.push(Action::Patch { target, subresource: "", patch: PatchType::Merge, body });
            }
            None => {
                let message = format!("Node {} status is now: CIDRNotAvailable", node.name());
                plan.event(&**node, "CIDRNotAvailable", message);
            }
        }
        plan
    }
}

fn ranges(node: &Node) -> Vec<&str> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let list = spec.pod_cidrs.iter().flatten().map(String::as_str);
    list.chain(spec.pod_cidr.as_deref()).filter(|range| !range.is_empty()).collect()
}

impl NodeIpamController {
    fn pieces(&self) -> impl Iterator<Item = String> {
        let (base, prefix) = (u32::from(self.base), self.node_prefix);
        let count = 1_u32 << self.node_prefix.saturating_sub(self.prefix).min(31);
        let size = 32 - u32::from(prefix);
        (0..count).map(move |index| format!("{}/{prefix}", Ipv4Addr::from(base + (index << size))))
    }
}
