//! Nodes that are down lose their pods one node at a time, at a rate that depends on how much of a zone is down:
//! what looks like the end of most nodes is more often the end of a network.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::controller::{Context, Controller};
use crate::controllers::node_lifecycle::{NOT_READY, UNREACHABLE, evicting, is_ready, put_taints};
use crate::meta::{Meta, time};
use crate::observed::ready;
use crate::plan::Plan;
use crate::world::{Change, Key, Kind, World};

/// Adds the NoExecute taints. Its queue holds zones, so that the nodes of one zone are looked at by one worker.
pub struct NodeEvictionController;

/// Upstream's `--node-eviction-rate`: 0.1 nodes a second.
const INTERVAL: SignedDuration = SignedDuration::from_secs(10);
/// Upstream's `--secondary-node-eviction-rate`: 0.01 nodes a second.
const REDUCED_INTERVAL: SignedDuration = SignedDuration::from_secs(100);
/// Upstream's `--large-cluster-size-threshold`. In a smaller zone that is mostly down nobody is evicted.
const LARGE_ZONE: usize = 50;
/// Upstream's `--unhealthy-zone-threshold`, and the nodes that are nothing yet.
const UNHEALTHY_PERCENT: usize = 55;
const UNHEALTHY_NODES: usize = 2;
/// Nodes with this label say nothing about their zone.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

impl Controller for NodeEvictionController {
    fn name(&self) -> &'static str {
        "node_eviction"
    }
    fn account(&self) -> &'static str {
        "node-controller"
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        if change.kind != Kind::Node || !is_news(change) {
            return Vec::new();
        }
        let mut zones: Vec<_> = change.both::<Node>().map(zone_of).collect();
        zones.dedup();
        zones
    }
    /// What one zone may do depends on all others.
    fn all_keys(&self, world: &World) -> Vec<Key> {
        zones(world).into_keys().collect()
    }
    fn resync_seconds(&self) -> u64 {
        5
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let zones = zones(world);
        match zones.get(key) {
            // When no node at all is ready the fault is more likely here.
            Some(zone) if zones.values().any(|zone| zone.ready > 0) => evict_next(zone, context.now),
            _ => Plan::nothing(),
        }
    }
}

/// Nodes are changed often; only this decides who is evicted.
fn is_news(change: &Change<'_>) -> bool {
    let health = |node: &Node| ready(node).map(|ready| ready.status.clone());
    let Some((old, new)) = change.old::<Node>().zip(change.current::<Node>()) else { return true };
    health(old) != health(new) || evicting(old) != evicting(new) || old.labels() != new.labels()
}

/// Region and zone.
fn zone_of(node: &Node) -> Key {
    let label = |key: &str| node.labels().get(key).map(String::as_str).unwrap_or_default();
    Key::new(label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

#[derive(Default)]
struct Zone<'a> {
    ready: usize,
    not_ready: usize,
    /// Down and not evicted yet.
    waiting: Vec<&'a Node>,
    /// When the last one was evicted.
    last: Option<Timestamp>,
}

fn zones(world: &World) -> BTreeMap<Key, Zone<'_>> {
    let mut zones: BTreeMap<Key, Zone<'_>> = BTreeMap::new();
    for node in world.nodes.iter() {
        zones.entry(zone_of(node)).or_default().count(node);
    }
    zones
}

impl<'a> Zone<'a> {
    fn count(&mut self, node: &'a Node) {
        if !node.labels().contains_key(EXCLUDED) {
            *if is_ready(node) { &mut self.ready } else { &mut self.not_ready } += 1;
        }
        match evicting(node) {
            Some(taint) => self.last = self.last.max(taint.time_added.as_ref().map(|time| time.0)),
            None if is_down(node) => self.waiting.push(node),
            None => {}
        }
    }

    /// Time between two evictions; `None`: none at all.
    fn interval(&self) -> Option<SignedDuration> {
        let all = self.ready + self.not_ready;
        let mostly_down = self.not_ready > UNHEALTHY_NODES && self.not_ready * 100 >= UNHEALTHY_PERCENT * all;
        match (self.ready, mostly_down) {
            // Other zones are ready: this one is really gone.
            (0, _) | (_, false) => Some(INTERVAL),
            (_, true) if all > LARGE_ZONE => Some(REDUCED_INTERVAL),
            (_, true) => None,
        }
    }
}

/// Its kubelet says so, or says nothing any more.
fn is_down(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status != "True")
}

/// The one that has been down longest, when it is time.
fn evict_next(zone: &Zone<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let since =
        |node: &&&Node| (ready(node).and_then(|ready| ready.last_transition_time.clone()), node.name().to_owned());
    let Some((node, interval)) = zone.waiting.iter().min_by_key(since).zip(zone.interval()) else { return plan };
    let left = zone.last.map(|last| (last + interval).duration_since(now));
    match left.and_then(|left| Duration::try_from(left).ok()).filter(|left| !left.is_zero()) {
        Some(left) => plan.requeue(left),
        None => {
            plan.push(put_taints(node, &with_taint(node, now)));
            plan.requeue(Duration::try_from(interval).unwrap_or_default());
        }
    }
    plan
}

fn with_taint(node: &Node, now: Timestamp) -> Vec<Taint> {
    let silent = ready(node).is_some_and(|ready| ready.status == "Unknown");
    let key = if silent { UNREACHABLE } else { NOT_READY };
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.push(Taint {
        key: key.to_owned(),
        effect: "NoExecute".to_owned(),
        time_added: Some(time(now)),
        value: None,
    });
    taints
}
