//! Room for what a pod requests.

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::filters::Rejection;

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    let (node, wanted) = (&cycle.snapshot.nodes[slot], &cycle.pod.requests);
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut unresolvable = false;
    if node.pods.len() + 1 > node.max_pods {
        reasons.push("Too many pods".into());
    }
    let (has, used) = (&node.allocatable, &node.requested);
    let basic = [
        (wanted.milli_cpu, has.milli_cpu, used.milli_cpu, "Insufficient cpu"),
        (wanted.memory, has.memory, used.memory, "Insufficient memory"),
        (wanted.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage, "Insufficient ephemeral-storage"),
    ];
    for (wanted, has, used, reason) in basic {
        if wanted > 0 && wanted > has - used {
            reasons.push(reason.into());
            unresolvable |= wanted > has;
        }
    }
    for (name, wanted) in wanted.others.iter().filter(|(_, wanted)| *wanted > 0) {
        let has = has.other(name);
        if *wanted > has - used.other(name) {
            reasons.push(format!("Insufficient {name}").into());
            unresolvable |= *wanted > has;
        }
    }
    (!reasons.is_empty()).then_some(Rejection { reasons, unresolvable })
}
