//! Scores: which of the possible nodes is best? One file each; the weights are upstream's.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources_balanced;
mod node_resources_fit;
mod pod_topology_spread;
mod taint_toleration;

use crate::cycle::Cycle;

/// The best a plugin can give, before its weight.
pub(crate) const MAX: i64 = 100;

/// Fills in 0..=100 per node (by position in `feasible`). False: it has nothing to say about this pod.
type Score = fn(&Cycle<'_>, &[usize], &mut [i64]) -> bool;

const ORDER: [(Score, i64); 7] = [
    (taint_toleration::score, 3),
    (node_affinity::score, 2),
    (node_resources_fit::score, 1),
    (pod_topology_spread::score, 2),
    (inter_pod_affinity::score, 2),
    (node_resources_balanced::score, 1),
    (image_locality::score, 1),
];

/// The weighted sum per node.
pub(crate) fn total(cycle: &Cycle<'_>, feasible: &[usize]) -> Vec<i64> {
    let mut totals = vec![0; feasible.len()];
    let mut own = vec![0; feasible.len()];
    for (score, weight) in ORDER {
        own.fill(0);
        if score(cycle, feasible, &mut own) {
            totals.iter_mut().zip(&own).for_each(|(total, own)| *total += own * weight);
        }
    }
    totals
}

/// Scales so that the highest gets 100; `reverse`: so that the lowest gets 100.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().max().copied().unwrap_or(0);
    for score in scores {
        let scaled = if max == 0 { 0 } else { MAX * *score / max };
        *score = if reverse { MAX - scaled } else { scaled };
    }
}
