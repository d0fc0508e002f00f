//! Which pods are on which node.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::pods::node_name;
use crate::world::{Change, Key, Kind};

#[derive(Debug, Default)]
pub(crate) struct Placed {
    by_node: HashMap<Arc<str>, BTreeSet<Key>>,
}

impl Placed {
    pub(crate) fn on(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// Follows the changes of all kinds.
    pub(crate) fn note(&mut self, key: &Key, change: &Change<'_>) {
        if change.kind != Kind::Pod {
            return;
        }
        let node = |pod: Option<&Pod>| pod.map(|pod| node_name(pod).to_owned()).filter(|node| !node.is_empty());
        let (before, after) = (node(change.old()), node(change.current()));
        if before == after {
            return;
        }
        if let Some(node) = before {
            self.leave(&node, key);
        }
        if let Some(node) = after {
            self.by_node.entry(node.into()).or_default().insert(key.clone());
        }
    }

    fn leave(&mut self, node: &str, key: &Key) {
        let emptied = self.by_node.get_mut(node).is_some_and(|keys| {
            keys.remove(key);
            keys.is_empty()
        });
        if emptied {
            self.by_node.remove(node);
        }
    }
}
