//! The decision: filter, score, choose.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::cycle::Cycle;
use crate::filters::{self, FilterSet};
use crate::message;
use crate::pod::{PodInfo, Spread};
use crate::scores;
use crate::snapshot::Snapshot;

/// With so few nodes all are looked at.
const MIN_FEASIBLE: usize = 100;
/// Never look for less than this share of all nodes.
const MIN_PERCENTAGE: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Place {
        node: String,
        /// Nodes looked at.
        evaluated: usize,
        feasible: usize,
    },
    Unschedulable {
        /// As the PodScheduled condition and the FailedScheduling event have it.
        message: String,
        /// Filters that rejected some node: only what concerns them can change the outcome.
        rejected_by: FilterSet,
    },
}

/// Chooses a node. `start` is where the look at the nodes begins and where the next one should;
/// `random` decides between equals. Prepares what is counted for the pod's constraints first.
pub fn schedule(snapshot: &mut Snapshot, pod: &PodInfo, start: &mut usize, random: u64) -> Decision {
    let constraints = snapshot.constraints_of(pod);
    snapshot.prepare(pod, &constraints);
    decide(snapshot, pod, &constraints, start, random)
}

fn decide(snapshot: &Snapshot, pod: &PodInfo, constraints: &[Spread], start: &mut usize, random: u64) -> Decision {
    let cycle = Cycle::new(snapshot, pod, constraints);
    let found = find_feasible(&cycle, start);
    if found.feasible.is_empty() {
        return found.unschedulable(&cycle);
    }
    let chosen = match found.feasible.as_slice() {
        [only] => *only,
        several => best(several, &scores::total(&cycle, several), random),
    };
    Decision::Place {
        node: snapshot.nodes[chosen].name.to_string(),
        evaluated: found.evaluated,
        feasible: found.feasible.len(),
    }
}

#[derive(Default)]
struct Found {
    feasible: Vec<usize>,
    evaluated: usize,
    reasons: BTreeMap<Cow<'static, str>, usize>,
    rejected_by: FilterSet,
    unresolvable: usize,
    resolvable: usize,
}

/// Feasible nodes to look for before scoring: all of few, a shrinking share of many, as upstream.
fn wanted(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percentage = 50_usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE);
    (nodes * percentage / 100).max(MIN_FEASIBLE)
}

fn find_feasible(cycle: &Cycle<'_>, start: &mut usize) -> Found {
    let order = &cycle.snapshot.order;
    let (mut found, wanted) = (Found::default(), wanted(order.len()));
    if order.is_empty() {
        return found;
    }
    *start %= order.len();
    let (before, after) = order.split_at(*start);
    for slot in after.iter().chain(before) {
        found.evaluated += 1;
        match filters::check(cycle, *slot) {
            None => found.feasible.push(*slot),
            Some((plugin, rejection)) => {
                found.rejected_by = found.rejected_by.with(plugin);
                *if rejection.unresolvable { &mut found.unresolvable } else { &mut found.resolvable } += 1;
                for reason in rejection.reasons {
                    *found.reasons.entry(reason).or_default() += 1;
                }
            }
        }
        if found.feasible.len() >= wanted {
            break;
        }
    }
    *start = (*start + found.evaluated) % order.len();
    found
}

impl Found {
    fn unschedulable(self, cycle: &Cycle<'_>) -> Decision {
        let nodes = cycle.snapshot.len();
        let mut message = message::no_fit(nodes, &self.reasons);
        message += &message::preemption(nodes, self.unresolvable, self.resolvable, cycle.pod.preempts());
        let rejected_by = if nodes == 0 { FilterSet::ALL } else { self.rejected_by };
        Decision::Unschedulable { message, rejected_by }
    }
}

/// The highest score; among equals the one `random` points at.
fn best(feasible: &[usize], totals: &[i64], random: u64) -> usize {
    let top = totals.iter().max().copied().unwrap_or(0);
    let equals: Vec<_> =
        feasible.iter().zip(totals).filter(|(_, total)| **total == top).map(|(slot, _)| *slot).collect();
    let index = usize::try_from(random % equals.len().max(1) as u64).unwrap_or(0);
    equals.get(index).copied().unwrap_or(feasible[0])
}
