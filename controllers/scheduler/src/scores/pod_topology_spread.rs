//! Topology spread constraints that should hold, among them the cluster's defaults.

use crate::cycle::Cycle;
use crate::filters::pod_topology_spread::Soft;
use crate::scores::MAX;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    let soft: Vec<_> = cycle.constraints.iter().filter(|constraint| !constraint.hard).collect();
    if soft.is_empty() {
        return false;
    }
    // With constraints of its own a node must have all their labels; the defaults take nodes as they are.
    let all_keys = !cycle.pod.spread.is_empty();
    let counted = Soft::all(cycle.snapshot, cycle.pod, &soft, all_keys);
    // Constraints over many domains weigh more: a difference of one pod is rarer there.
    let weights: Vec<_> = counted.iter().map(|own| (own.domains_of(feasible) as f64 + 2.0).ln()).collect();
    let raw = |slot: usize| -> Option<f64> {
        let mut sum = 0.0;
        for ((own, weight), constraint) in counted.iter().zip(&weights).zip(&soft) {
            match own.count(slot) {
                Some(count) => sum += f64::from(count) * weight + (constraint.max_skew - 1) as f64,
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
