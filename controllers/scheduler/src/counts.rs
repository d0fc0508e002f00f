//! How many pods of a selector are on each node, kept up to date instead of counted anew.

use std::collections::HashMap;
use std::sync::Arc;

use api_machinery::labels::Selector;

use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// Selectors remembered; when there are more all are forgotten and counted anew on demand.
const REMEMBERED: usize = 1024;

/// A selector in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountKey {
    pub(crate) namespace: Arc<str>,
    /// Text that tells selectors apart.
    text: String,
}

impl CountKey {
    pub(crate) fn new(namespace: &Arc<str>, selector: &Selector) -> Self {
        Self { namespace: namespace.clone(), text: format!("{selector:?}") }
    }
}

struct Entry {
    selector: Selector,
    per_node: Vec<u32>,
}

/// Matching pods per node slot, for each selector that was asked for. Pods being deleted do not count.
#[derive(Default)]
pub(crate) struct Counts {
    entries: HashMap<CountKey, Entry>,
    by_namespace: HashMap<Arc<str>, Vec<CountKey>>,
}

fn counts(pod: &PodInfo) -> bool {
    pod.pod.metadata.deletion_timestamp.is_none()
}

impl Counts {
    pub(crate) fn get(&self, key: &CountKey) -> Option<&[u32]> {
        self.entries.get(key).map(|entry| entry.per_node.as_slice())
    }

    /// Counts once, when the selector is new.
    pub(crate) fn ensure(&mut self, key: &CountKey, selector: &Selector, nodes: &[NodeInfo]) {
        if self.entries.contains_key(key) {
            return;
        }
        if self.entries.len() >= REMEMBERED {
            *self = Self::default();
        }
        let matching = |node: &NodeInfo| {
            let pods = node.pods.iter().filter(|pod| pod.namespace == key.namespace && counts(pod));
            u32::try_from(pods.filter(|pod| selector.matches_map(&pod.labels)).count()).unwrap_or(u32::MAX)
        };
        let entry = Entry { selector: selector.clone(), per_node: nodes.iter().map(matching).collect() };
        self.entries.insert(key.clone(), entry);
        self.by_namespace.entry(key.namespace.clone()).or_default().push(key.clone());
    }

    /// A pod came to (`+1`) or left (`-1`) a node.
    pub(crate) fn change(&mut self, pod: &PodInfo, slot: usize, by: i32) {
        let Some(keys) = self.by_namespace.get(&pod.namespace).filter(|_| counts(pod)) else { return };
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            if !entry.selector.matches_map(&pod.labels) {
                continue;
            }
            if entry.per_node.len() <= slot {
                entry.per_node.resize(slot + 1, 0);
            }
            entry.per_node[slot] = entry.per_node[slot].saturating_add_signed(by);
        }
    }
}

/// The domain of each node for one topology key.
pub(crate) struct Topology {
    /// By node slot.
    pub(crate) domain: Vec<Option<u32>>,
    pub(crate) domains: usize,
    /// That have the label.
    pub(crate) nodes: usize,
}

impl Topology {
    pub(crate) fn new(key: &str, nodes: &[NodeInfo]) -> Self {
        let mut ids: HashMap<&str, u32> = HashMap::new();
        let domain = nodes.iter().map(|node| {
            let value = node.label(key).filter(|_| node.exists)?;
            let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            Some(*ids.entry(value).or_insert(next))
        });
        let domain: Vec<_> = domain.collect();
        let nodes = domain.iter().flatten().count();
        Self { domain, domains: ids.len(), nodes }
    }
    pub(crate) fn of(&self, slot: usize) -> Option<usize> {
        self.domain.get(slot).copied().flatten().map(|id| id as usize)
    }
}
