//! Topology spread constraints that should hold, among them the cluster's defaults.

use crate::cycle::Cycle;
use crate::filters::pod_topology_spread::{Domain, domains};
use crate::scores::MAX;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    let soft: Vec<_> = cycle.constraints.iter().filter(|constraint| !constraint.hard).collect();
    if soft.is_empty() {
        return false;
    }
    // With constraints of its own a node must have all their labels; the defaults take nodes as they are.
    let all_keys = !cycle.pod.spread.is_empty();
    let domains = domains(cycle.snapshot, cycle.pod, &soft, all_keys);
    let weights: Vec<_> = domains.iter().map(|domain| weight(domain, feasible)).collect();
    let raw = |slot: usize| -> Option<f64> {
        let mut sum = 0.0;
        for ((domain, weight), constraint) in domains.iter().zip(&weights).zip(&soft) {
            match domain.topology.of(slot) {
                Some(id) => {
                    sum += f64::from(domain.counts[id].unwrap_or(0)) * weight + (constraint.max_skew - 1) as f64
                }
                None if all_keys => return None,
                None => {}
            }
        }
        Some(sum)
    };
    let scores: Vec<_> = feasible.iter().map(|slot| raw(*slot).map(|score| score.round() as i64)).collect();
    fewest_best(&scores, out);
    true
}

/// Constraints over many domains weigh more: a difference of one pod is rarer there.
fn weight(domain: &Domain<'_>, feasible: &[usize]) -> f64 {
    let mut seen = vec![false; domain.counts.len()];
    for id in feasible.iter().filter_map(|slot| domain.topology.of(*slot)) {
        seen[id] = true;
    }
    (seen.iter().filter(|seen| **seen).count() as f64 + 2.0).ln()
}

fn fewest_best(scores: &[Option<i64>], out: &mut [i64]) {
    let max = scores.iter().flatten().max().copied().unwrap_or(0);
    let min = scores.iter().flatten().min().copied().unwrap_or(0);
    for (score, out) in scores.iter().zip(out) {
        *out = match score {
            None => 0,
            Some(_) if max == 0 => MAX,
            Some(score) => MAX * (max + min - score) / max,
        };
    }
}
