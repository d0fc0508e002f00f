//! When something was first seen, by the clock of this process: what judging by other clocks would get wrong.
//!
//! A new leader starts with nothing seen: everybody gets the full grace again, as upstream's controllers give it.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::meta::Meta;
use crate::world::{Change, Kind};

/// Leases that nodes renew are in this namespace.
pub const NODE_LEASES: &str = "kube-node-lease";

#[derive(Debug, Default)]
pub struct Observed {
    /// When the world began to be watched.
    since: Option<Timestamp>,
    heard: HashMap<String, Timestamp>,
    gone: HashMap<String, Timestamp>,
    /// NoExecute taints by node and key.
    tainted: HashMap<(String, String), Timestamp>,
}

pub fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

impl Observed {
    /// Takes note of a change; the runtime calls it for every one.
    pub fn note(&mut self, change: &Change<'_>, now: Timestamp) {
        self.since.get_or_insert(now);
        match change.kind {
            Kind::Lease => self.note_lease(change, now),
            Kind::Node => self.note_node(change, now),
            _ => {}
        }
    }

    fn note_lease(&mut self, change: &Change<'_>, now: Timestamp) {
        let Some(lease) = change.current::<Lease>().filter(|lease| lease.namespace() == NODE_LEASES) else { return };
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        if change.old::<Lease>().is_none_or(|old| renewed(old) != renewed(lease)) {
            self.heard.insert(lease.name().to_owned(), now);
        }
    }

    fn note_node(&mut self, change: &Change<'_>, now: Timestamp) {
        let Some(node) = change.current::<Node>() else {
            if let Some(node) = change.old::<Node>() {
                self.heard.remove(node.name());
                self.tainted.retain(|(name, _), _| name != node.name());
                self.gone.insert(node.name().to_owned(), now);
            }
            return;
        };
        self.gone.remove(node.name());
        let beat = |node: &Node| ready(node).and_then(|ready| ready.last_heartbeat_time.clone());
        if change.old::<Node>().is_none_or(|old| beat(old) != beat(node)) {
            self.heard.insert(node.name().to_owned(), now);
        }
        let keys: Vec<_> = no_execute_keys(node).collect();
        self.tainted.retain(|(name, key), _| name != node.name() || keys.contains(key));
        for key in keys {
            self.tainted.entry((node.name().to_owned(), key)).or_insert(now);
        }
    }

    /// When a node last gave a sign of life.
    pub fn heard(&self, node: &str) -> Option<Timestamp> {
        self.heard.get(node).copied()
    }
    /// Since when a node that does not exist has been missing.
    pub fn missing_since(&self, node: &str) -> Option<Timestamp> {
        self.gone.get(node).copied().or(self.since)
    }
    /// Since when a node has a NoExecute taint of this key.
    pub fn tainted_since(&self, node: &str, key: &str) -> Option<Timestamp> {
        self.tainted.get(&(node.to_owned(), key.to_owned())).copied()
    }
}

fn no_execute_keys(node: &Node) -> impl Iterator<Item = String> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.filter(|taint| taint.effect == "NoExecute").map(|taint| taint.key.clone())
}
