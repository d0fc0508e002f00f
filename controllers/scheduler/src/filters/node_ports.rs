//! Ports of the node itself that pods ask for.

use crate::cycle::Cycle;
use crate::filters::Rejection;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    let taken = &cycle.snapshot.nodes[slot].ports;
    let conflict = cycle.pod.ports.iter().any(|port| taken.iter().any(|own| own.conflicts(port)));
    if conflict { Rejection::resolvable("node(s) didn't have free ports for the requested pod ports") } else { None }
}
