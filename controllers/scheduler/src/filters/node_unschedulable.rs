//! Cordoned nodes.

use k8s_openapi::api::core::v1::Taint;

use crate::cycle::Cycle;
use crate::filters::Rejection;
use crate::matching::tolerates;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    if !cycle.snapshot.nodes[slot].unschedulable {
        return None;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if tolerates(&cycle.pod.tolerations, &taint) { None } else { Rejection::unresolvable("node(s) were unschedulable") }
}
