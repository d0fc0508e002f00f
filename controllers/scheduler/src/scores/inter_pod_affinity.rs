//! Preferred pod affinity and anti-affinity, of the pod and of those already there.

use std::collections::HashMap;

use crate::cycle::Cycle;
use crate::filters::inter_pod_affinity::{Pair, namespace_labels, pair};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::scores::MAX;

/// What a required affinity of a pod that is there is worth, for the pods it wants near.
const REQUIRED_WEIGHT: i64 = 1;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    let mut worth: HashMap<Pair, i64> = HashMap::new();
    for (slot, other) in cycle.snapshot.with_affinity.values() {
        wishes_of_other(cycle, other, &cycle.snapshot.nodes[*slot], &mut worth);
    }
    if !cycle.pod.affinity.preferred.is_empty() {
        own_wishes(cycle, &mut worth);
    }
    worth.retain(|_, weight| *weight != 0);
    if worth.is_empty() {
        return false;
    }
    for (slot, score) in feasible.iter().zip(&mut *out) {
        let node = &cycle.snapshot.nodes[*slot];
        let here = worth.iter().filter(|((key, value), _)| node.label(key) == Some(value));
        *score = here.map(|(_, weight)| weight).sum();
    }
    stretch(out);
    true
}

fn wishes_of_other(cycle: &Cycle<'_>, other: &PodInfo, node: &NodeInfo, worth: &mut HashMap<Pair, i64>) {
    let labels = namespace_labels(cycle.snapshot);
    let required = other.affinity.required.iter().map(|term| (term, REQUIRED_WEIGHT));
    let preferred = other.affinity.preferred.iter().map(|(term, weight)| (term, *weight));
    for (term, weight) in required.chain(preferred).filter(|(term, _)| term.matches(cycle.pod, labels)) {
        if let Some(pair) = pair(term, node) {
            *worth.entry(pair).or_default() += weight;
        }
    }
}

fn own_wishes(cycle: &Cycle<'_>, worth: &mut HashMap<Pair, i64>) {
    let labels = namespace_labels(cycle.snapshot);
    for node in cycle.snapshot.order.iter().map(|slot| &cycle.snapshot.nodes[*slot]) {
        for (term, weight) in &cycle.pod.affinity.preferred {
            let Some(pair) = pair(term, node) else { continue };
            let matching = node.pods.iter().filter(|other| term.matches(other, labels)).count() as i64;
            *worth.entry(pair).or_default() += weight * matching;
        }
    }
}

fn stretch(scores: &mut [i64]) {
    let max = scores.iter().max().copied().unwrap_or(0);
    let min = scores.iter().min().copied().unwrap_or(0);
    for score in scores {
        *score = if max == min { 0 } else { MAX * (*score - min) / (max - min) };
    }
}
