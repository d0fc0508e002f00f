//! Preferred node affinity.

use crate::cycle::Cycle;
use crate::scores::normalize;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    if cycle.pod.node_preferred.is_empty() {
        return false;
    }
    for (slot, score) in feasible.iter().zip(&mut *out) {
        let node = &cycle.snapshot.nodes[*slot];
        *score = cycle.pod.node_preferred.iter().filter(|(term, _)| term.matches(node)).map(|(_, weight)| weight).sum();
    }
    normalize(out, false);
    true
}
