//! Pods that name their node.

use crate::cycle::Cycle;
use crate::filters::Rejection;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    let wanted = &cycle.pod.node_name;
    if wanted.is_empty() || **wanted == *cycle.snapshot.nodes[slot].name {
        return None;
    }
    Rejection::unresolvable("node(s) didn't match the requested node name")
}
