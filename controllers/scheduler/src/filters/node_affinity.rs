//! `nodeSelector` and required node affinity.

use crate::cycle::Cycle;
use crate::filters::Rejection;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    if matches(cycle.pod, &cycle.snapshot.nodes[slot]) {
        return None;
    }
    Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector")
}

pub(crate) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selected = pod.node_selector.requirements.is_empty() || pod.node_selector.matches_map(&node.labels);
    selected && pod.node_required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
}
