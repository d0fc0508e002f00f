//! Taints that keep pods away.

use crate::cycle::Cycle;
use crate::filters::Rejection;
use crate::matching::tolerates;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    let hard = cycle.snapshot.nodes[slot].taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    if hard.into_iter().all(|taint| tolerates(&cycle.pod.tolerations, taint)) {
        return None;
    }
    Rejection::unresolvable("node(s) had untolerated taint(s)")
}
