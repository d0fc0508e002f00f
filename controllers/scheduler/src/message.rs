//! The text that tells why a pod has no place.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub(crate) fn no_fit(nodes: usize, reasons: &BTreeMap<Cow<'static, str>, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    match parts.is_empty() {
        true => format!("0/{nodes} nodes are available"),
        false => format!("0/{nodes} nodes are available: {}.", parts.join(", ")),
    }
}

/// What preemption found: how many nodes it cannot help on, and how many have nobody to give way.
pub(crate) fn preemption(nodes: usize, not_helpful: usize, no_victims: usize, may: bool) -> String {
    if nodes == 0 {
        return String::new();
    }
    if !may {
        return " preemption: not eligible due to preemptionPolicy=Never.".to_owned();
    }
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    for (reason, count) in [
        ("Preemption is not helpful for scheduling", not_helpful),
        ("No preemption victims found for incoming pod", no_victims),
    ] {
        if count > 0 {
            reasons.insert(reason.into(), count);
        }
    }
    format!(" preemption: {}", no_fit(nodes, &reasons))
}
