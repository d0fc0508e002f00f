//! `LeastAllocated`: the more of CPU and memory stays free, the better.

use crate::cycle::Cycle;
use crate::scores::MAX;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    for (slot, score) in feasible.iter().zip(out) {
        let (node, pod) = (&cycle.snapshot.nodes[*slot], &cycle.pod.weighed);
        let parts = [
            (node.allocatable.milli_cpu, node.weighed.milli_cpu + pod.milli_cpu),
            (node.allocatable.memory, node.weighed.memory + pod.memory),
        ];
        let known = parts.iter().filter(|(has, _)| *has > 0);
        let count = known.clone().count() as i64;
        let sum: i64 = known.map(|(has, used)| free(*has, *used)).sum();
        *score = if count == 0 { 0 } else { sum / count };
    }
    true
}

fn free(has: i64, used: i64) -> i64 {
    if used > has { 0 } else { (has - used).saturating_mul(MAX) / has }
}
