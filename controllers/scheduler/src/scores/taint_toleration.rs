//! Fewer taints that would rather not have the pod.

use crate::cycle::Cycle;
use crate::matching::tolerates;
use crate::scores::normalize;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    for (slot, score) in feasible.iter().zip(&mut *out) {
        let soft = cycle.snapshot.nodes[*slot].taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        *score = soft.filter(|taint| !tolerates(&cycle.pod.tolerations, taint)).count() as i64;
    }
    normalize(out, true);
    true
}
