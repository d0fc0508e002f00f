//! The state decisions are made over: nodes with their pods, changed in place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api_machinery::labels::Selector;
use k8s_openapi::api::core::v1::Node;

use crate::counts::{CountKey, Counts, Topology};
use crate::matching::Labels;
use crate::node::{HOSTNAME, NodeInfo, ZONE};
use crate::pod::{PodInfo, Spread};

/// Nodes, the pods on them (assumed ones included) and what is remembered about both.
#[derive(Default)]
pub struct Snapshot {
    pub(crate) nodes: Vec<NodeInfo>,
    slots: HashMap<Arc<str>, usize>,
    /// Slots of the nodes that exist, alternating between zones; brought up to date before a decision.
    pub(crate) order: Vec<usize>,
    existing: usize,
    order_is_old: bool,
    placed: HashMap<Arc<str>, usize>,
    /// Pods with any pod affinity, by uid, with their slot: all others need not be asked.
    pub(crate) with_affinity: HashMap<Arc<str>, (usize, Arc<PodInfo>)>,
    pub(crate) namespaces: HashMap<Arc<str>, Labels>,
    /// Selectors of Services and of pod controllers: what is spread when a pod does not say.
    services: HashMap<Arc<str>, BTreeMap<Arc<str>, Selector>>,
    owners: HashMap<Arc<str>, Selector>,
    pub(crate) counts: Counts,
    topologies: HashMap<String, Topology>,
    /// Nodes that have an image, by its name.
    pub(crate) image_nodes: HashMap<String, usize>,
}

impl Snapshot {
    /// Nodes that exist.
    pub fn len(&self) -> usize {
        self.existing
    }
    pub fn is_empty(&self) -> bool {
        self.existing == 0
    }
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.slots.get(name).map(|slot| &self.nodes[*slot]).filter(|node| node.exists)
    }
    /// The node a pod is on, or assumed to be on.
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.placed.get(uid).map(|slot| &*self.nodes[*slot].name)
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        self.nodes.push(NodeInfo::placeholder(name));
        let slot = self.nodes.len() - 1;
        self.slots.insert(name.into(), slot);
        slot
    }

    pub fn set_node(&mut self, node: &Node) {
        let slot = self.slot(node.metadata.name.as_deref().unwrap_or_default());
        self.count_images(slot, -1);
        let (existed, labels) = (self.nodes[slot].exists, std::mem::take(&mut self.nodes[slot].labels));
        self.nodes[slot].set(node);
        self.count_images(slot, 1);
        // Nodes report often: only their labels say where they are in the order.
        if !existed || labels != self.nodes[slot].labels {
            self.existing += usize::from(!existed);
            self.order_is_old = true;
        }
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slots.get(name).copied() else { return };
        if !self.nodes[slot].exists {
            return;
        }
        self.existing -= 1;
        self.count_images(slot, -1);
        let pods = std::mem::take(&mut self.nodes[slot].pods);
        self.nodes[slot] = NodeInfo::placeholder(name);
        pods.into_iter().for_each(|pod| self.nodes[slot].add(pod));
        self.order_is_old = true;
    }

    fn count_images(&mut self, slot: usize, by: isize) {
        for name in self.nodes[slot].images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.image_nodes.remove(name);
            }
        }
    }

    /// One node of each zone in turn.
    fn arrange(&mut self) {
        if !std::mem::take(&mut self.order_is_old) {
            return;
        }
        self.topologies.clear();
        let mut zones: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (slot, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.exists) {
            zones.entry(node.zone()).or_default().push(slot);
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|turn| zones.values().filter_map(move |zone| zone.get(turn).copied()));
        self.order = turns.collect();
    }

    /// Puts a pod on a node; where it was before, it is no more.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.uid.clone());
        let slot = self.slot(node);
        self.counts.change(&pod, slot, 1);
        self.placed.insert(pod.uid.clone(), slot);
        if !pod.affinity.is_empty() {
            self.with_affinity.insert(pod.uid.clone(), (slot, pod.clone()));
        }
        self.nodes[slot].add(pod);
    }

    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let slot = self.placed.remove(uid)?;
        self.with_affinity.remove(uid);
        let pod = self.nodes[slot].remove(uid)?;
        self.counts.change(&pod, slot, -1);
        Some(pod)
    }

    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
    }
    /// The selector of a Service; `None` when it has none or is gone.
    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Option<Selector>) {
        let own = self.services.entry(namespace.into()).or_default();
        match selector {
            Some(selector) => own.insert(name.into(), selector),
            None => own.remove(name),
        };
        if own.is_empty() {
            self.services.remove(namespace);
        }
    }
    /// The selector of a ReplicaSet, ReplicationController or StatefulSet, by uid.
    pub fn set_owner(&mut self, uid: &str, selector: Option<Selector>) {
        match selector {
            Some(selector) => self.owners.insert(uid.into(), selector),
            None => self.owners.remove(uid),
        };
    }

    /// The constraints of a pod: its own, or the cluster's defaults (spread over hosts and zones, softly)
    /// over the pods of the same Services and the same controller.
    pub(crate) fn constraints_of(&self, pod: &PodInfo) -> Vec<Spread> {
        if !pod.spread.is_empty() {
            return pod.spread.clone();
        }
        let selector = self.default_selector(pod);
        if selector.requirements.is_empty() {
            return Vec::new();
        }
        let constraint = |key: &str, max_skew| Spread {
            topology_key: key.to_owned(),
            max_skew,
            min_domains: 1,
            hard: false,
            selector: selector.clone(),
            honor_affinity: true,
            honor_taints: false,
        };
        vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
    }

    fn default_selector(&self, pod: &PodInfo) -> Selector {
        let services = self.services.get(&pod.namespace).into_iter().flat_map(BTreeMap::values);
        let services = services.filter(|selector| selector.matches_map(&pod.labels));
        let references = pod.pod.metadata.owner_references.iter().flatten();
        let owner = references.into_iter().find(|own| own.controller == Some(true));
        let owner = owner.and_then(|own| self.owners.get(own.uid.as_str()));
        let requirements = services.chain(owner).flat_map(|selector| selector.requirements.iter().cloned());
        Selector { requirements: requirements.collect(), nothing: false }
    }

    /// Makes sure that what the constraints ask for is counted.
    pub(crate) fn prepare(&mut self, pod: &PodInfo, constraints: &[Spread]) {
        self.arrange();
        for constraint in constraints {
            let key = CountKey::new(&pod.namespace, &constraint.selector);
            self.counts.ensure(&key, &constraint.selector, &self.nodes);
            if !self.topologies.contains_key(&constraint.topology_key) {
                let topology = Topology::new(&constraint.topology_key, &self.nodes);
                self.topologies.insert(constraint.topology_key.clone(), topology);
            }
        }
    }
    pub(crate) fn topology(&self, key: &str) -> Option<&Topology> {
        self.topologies.get(key)
    }
    /// Uids of all pods that are on nodes.
    pub fn pods(&self) -> HashSet<Arc<str>> {
        self.placed.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, beat: u32, images: &[&str]) -> Node {
        let images: Vec<_> = images.iter().map(|image| json!({"names": [image], "sizeBytes": 1})).collect();
        let node = json!({"metadata": {"name": name, "labels": {HOSTNAME: name}},
            "status": {"images": images, "conditions": [{"type": "Ready", "status": "True", "message": beat.to_string()}]}});
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn nodes_that_only_report_cost_nothing_later() {
        let mut snapshot = Snapshot::default();
        let pod = PodInfo::new(Arc::default());
        snapshot.set_node(&node("a", 0, &["x", "y"]));
        snapshot.set_node(&node("b", 0, &["y"]));
        snapshot.prepare(&pod, &[]);
        assert_eq!((snapshot.order.len(), snapshot.order_is_old), (2, false));
        snapshot.set_node(&node("a", 1, &["y"]));
        assert!(!snapshot.order_is_old, "the order is not made anew for each decision");
        assert_eq!(snapshot.image_nodes, HashMap::from([("y".to_owned(), 2)]));
        snapshot.set_node(&node("c", 0, &[]));
        assert!(snapshot.order_is_old);
    }
}
