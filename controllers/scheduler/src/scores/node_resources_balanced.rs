//! `BalancedAllocation`: CPU and memory used in the same proportion.

use crate::cycle::Cycle;
use crate::scores::MAX;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    let pod = &cycle.pod.requests;
    // A pod that asks for neither changes no balance.
    if pod.milli_cpu == 0 && pod.memory == 0 {
        return false;
    }
    for (slot, score) in feasible.iter().zip(out) {
        let node = &cycle.snapshot.nodes[*slot];
        let (has, used) = (&node.allocatable, &node.requested);
        let cpu = fraction(has.milli_cpu, used.milli_cpu + pod.milli_cpu);
        let memory = fraction(has.memory, used.memory + pod.memory);
        let deviation = match (cpu, memory) {
            (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
            _ => 0.0,
        };
        *score = ((1.0 - deviation) * MAX as f64) as i64;
    }
    true
}

fn fraction(has: i64, used: i64) -> Option<f64> {
    (has > 0).then(|| (used as f64 / has as f64).min(1.0))
}
