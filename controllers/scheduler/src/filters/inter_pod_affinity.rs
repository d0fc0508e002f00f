//! Required pod affinity and anti-affinity, of the pod and of those already there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cycle::Cycle;
use crate::filters::Rejection;
use crate::matching::{Labels, PodTerm};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// A topology key with one of its values.
pub(crate) type Pair = (String, String);

#[derive(Default)]
pub(crate) struct State {
    /// Domains closed by the anti-affinity of pods that are there.
    closed: HashSet<Pair>,
    /// Domains the pod itself keeps away from.
    avoided: HashSet<Pair>,
    /// Pods that match all required terms, by domain.
    wanted: HashMap<Pair, usize>,
    /// No pod matches yet, and the pod matches itself: it may be the first.
    may_be_first: bool,
}

pub(crate) fn namespace_labels<'a>(snapshot: &'a Snapshot) -> impl Fn(&str) -> Option<&'a Labels> + Copy {
    |namespace: &str| snapshot.namespaces.get(namespace)
}

pub(crate) fn pair(term: &PodTerm, node: &NodeInfo) -> Option<Pair> {
    node.label(&term.topology_key).map(|value| (term.topology_key.clone(), value.to_owned()))
}

impl State {
    pub(crate) fn new(snapshot: &Snapshot, pod: &PodInfo) -> Self {
        let mut state = Self::default();
        state.close(snapshot, pod);
        let own = &pod.affinity;
        if own.required.is_empty() && own.required_anti.is_empty() {
            return state;
        }
        for node in snapshot.order.iter().map(|slot| &snapshot.nodes[*slot]) {
            node.pods.iter().for_each(|other| state.count(snapshot, pod, other, node));
        }
        let labels = namespace_labels(snapshot);
        state.may_be_first = state.wanted.is_empty() && own.required.iter().all(|term| term.matches(pod, labels));
        state
    }

    fn close(&mut self, snapshot: &Snapshot, pod: &PodInfo) {
        let labels = namespace_labels(snapshot);
        for (slot, other) in snapshot.with_affinity.values() {
            let terms = other.affinity.required_anti.iter().filter(|term| term.matches(pod, labels));
            self.closed.extend(terms.filter_map(|term| pair(term, &snapshot.nodes[*slot])));
        }
    }

    fn count(&mut self, snapshot: &Snapshot, pod: &PodInfo, other: &Arc<PodInfo>, node: &NodeInfo) {
        let labels = namespace_labels(snapshot);
        let own = &pod.affinity;
        if !own.required.is_empty() && own.required.iter().all(|term| term.matches(other, labels)) {
            for found in own.required.iter().filter_map(|term| pair(term, node)) {
                *self.wanted.entry(found).or_default() += 1;
            }
        }
        let avoided = own.required_anti.iter().filter(|term| term.matches(other, labels));
        self.avoided.extend(avoided.filter_map(|term| pair(term, node)));
    }
}

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    let (state, node, own) = (&cycle.affinity, &cycle.snapshot.nodes[slot], &cycle.pod.affinity);
    if !own.required.is_empty() && !is_wanted(state, node, &own.required) {
        return Rejection::unresolvable("node(s) didn't match pod affinity rules");
    }
    if own.required_anti.iter().any(|term| pair(term, node).is_some_and(|pair| state.avoided.contains(&pair))) {
        return Rejection::resolvable("node(s) didn't match pod anti-affinity rules");
    }
    if state.closed.iter().any(|(key, value)| node.label(key) == Some(value)) {
        return Rejection::resolvable("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    None
}

fn is_wanted(state: &State, node: &NodeInfo, terms: &[PodTerm]) -> bool {
    terms.iter().all(|term| {
        let Some(pair) = pair(term, node) else { return false };
        state.may_be_first || state.wanted.contains_key(&pair)
    })
}
