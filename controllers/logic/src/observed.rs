//! When something was first seen, by the clock of this process: what judging by other clocks would get wrong.
//!
//! A replica sees what happens whether it leads or not. But a new leader takes silence before its leadership for
//! nothing: nodes could not be heard while nobody answered them. Everybody gets the full grace again, as upstream's
//! controllers give it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::meta::Meta;
use crate::world::{Change, Kind};

/// Leases that nodes renew are in this namespace.
pub const NODE_LEASES: &str = "kube-node-lease";

/// How long a node that is gone is remembered; its pods are gone long before.
const REMEMBER_GONE: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Default)]
pub struct Observed {
    /// When the world began to be watched, or to be acted upon.
    since: Option<Timestamp>,
    /// Signs of life: of nodes by their own status, and by their leases.
    beats: HashMap<String, Timestamp>,
    renewals: HashMap<String, Timestamp>,
    gone: HashMap<String, Timestamp>,
    /// By node, its NoExecute taints by key.
    tainted: HashMap<String, HashMap<String, Timestamp>>,
}

pub fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

impl Observed {
    /// A leadership begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.since = Some(now);
    }

    /// When this leadership began.
    pub fn began(&self) -> Option<Timestamp> {
        self.since
    }

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
        let Some(any) = change.any::<Lease>().filter(|lease| lease.namespace() == NODE_LEASES) else { return };
        let Some(lease) = change.current::<Lease>() else {
            // It comes back when the node lives; until then what it said counts.
            let last = self.renewals.remove(any.name());
            if let Some((beat, last)) = self.beats.get_mut(any.name()).zip(last) {
                *beat = last.max(*beat);
            }
            return;
        };
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        if change.old::<Lease>().is_none_or(|old| renewed(old) != renewed(lease)) {
            self.renewals.insert(lease.name().to_owned(), now);
        }
    }

    fn note_node(&mut self, change: &Change<'_>, now: Timestamp) {
        let Some(node) = change.current::<Node>() else {
            if let Some(node) = change.old::<Node>() {
                self.beats.remove(node.name());
                self.tainted.remove(node.name());
                self.gone.retain(|_, at| now.duration_since(*at) <= REMEMBER_GONE);
                self.gone.insert(node.name().to_owned(), now);
            }
            return;
        };
        self.gone.remove(node.name());
        let beat = |node: &Node| ready(node).and_then(|ready| ready.last_heartbeat_time.clone());
        if change.old::<Node>().is_none_or(|old| beat(old) != beat(node)) {
            self.beats.insert(node.name().to_owned(), now);
        }
        self.note_taints(node, now);
    }

    fn note_taints(&mut self, node: &Node, now: Timestamp) {
        let mut before = self.tainted.remove(node.name()).unwrap_or_default();
        let after: HashMap<_, _> = no_execute_keys(node)
            .map(|key| (before.remove(&key).unwrap_or(now), key))
            .map(|(at, key)| (key, at))
            .collect();
        if !after.is_empty() {
            self.tainted.insert(node.name().to_owned(), after);
        }
    }

    /// When a node last gave a sign of life, at the earliest when this leadership began.
    pub fn heard(&self, node: &str) -> Option<Timestamp> {
        let heard = self.beats.get(node).max(self.renewals.get(node)).copied()?;
        Some(self.since.map_or(heard, |since| since.max(heard)))
    }
    /// Since when a node that does not exist has been missing.
    pub fn missing_since(&self, node: &str) -> Option<Timestamp> {
        self.gone.get(node).copied().or(self.since)
    }
    /// Since when a node has a NoExecute taint of this key.
    pub fn tainted_since(&self, node: &str, key: &str) -> Option<Timestamp> {
        self.tainted.get(node)?.get(key).copied()
    }
}

fn no_execute_keys(node: &Node) -> impl Iterator<Item = String> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.filter(|taint| taint.effect == "NoExecute").map(|taint| taint.key.clone())
}
