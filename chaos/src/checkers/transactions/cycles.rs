//! Whether there is an order at all, whatever revisions say: strict serializability of transactions that append to
//! lists, from the lists alone.
//!
//! Every list that anyone saw is a beginning of the longest one. That gives the order of the appends to one list; who
//! saw a list comes after the last append in it and before the next; who had ended before another began comes first. An
//! order of all exists when these do not go in a circle.

use std::collections::{BTreeMap, VecDeque};

use super::{book, say};
use crate::checkers::Violations;
use crate::checkers::append::SEPARATOR;
use crate::history::{Stored, Txn, TxnOutcome};

/// Of a circle, so many are named.
const NAMED: usize = 6;

/// `finals`: what happened, of which the last of each list counts.
pub fn check(txns: &[Txn], finals: &[Stored]) -> Violations {
    let seen: Vec<Vec<(&str, &str)>> = txns.iter().map(|txn| seen(txn)).collect();
    let mut longest: BTreeMap<&str, &str> =
        finals.iter().map(|stored| (stored.key.as_str(), stored.value.as_str())).collect();
    for (key, value) in seen.iter().flatten() {
        let known = longest.entry(key).or_default();
        if value.len() > known.len() {
            *known = value;
        }
    }
    let mut violations = Violations::new();
    for (txn, seen) in txns.iter().zip(&seen) {
        let strange = seen.iter().find(|(key, value)| !begins(longest[key], value));
        violations.extend(
            strange.map(|(key, value)| say(txn, &format!("{key} was {value}, which no later one begins with"))),
        );
    }
    match violations.is_empty() {
        true => circle(txns, &seen, &longest).into_iter().collect(),
        false => violations,
    }
}

fn begins(longer: &str, value: &str) -> bool {
    longer.strip_prefix(value).is_some_and(|rest| value.is_empty() || rest.is_empty() || rest.starts_with(SEPARATOR))
}

/// The lists that a client knows to have been so. Empty: there was none.
fn seen(txn: &Txn) -> Vec<(&str, &str)> {
    let TxnOutcome::Done { succeeded, read, .. } = &txn.outcome else { return Vec::new() };
    let read = read.iter().map(|(key, found)| (key.as_str(), found.as_ref().map_or("", |found| found.value.as_str())));
    let written = txn.writes.iter().filter(|_| *succeeded).map(|(key, value)| (key.as_str(), value.as_str()));
    read.chain(written).collect()
}

/// Transactions, and between them moments: what ended before one comes before all that began after it.
struct Graph {
    edges: Vec<Vec<usize>>,
}

impl Graph {
    fn comes_first(&mut self, one: usize, other: usize) {
        if one != other {
            self.edges[one].push(other);
        }
    }

    /// Those that no order has a place for.
    fn left_over(&self) -> Vec<usize> {
        let mut before = vec![0_usize; self.edges.len()];
        self.edges.iter().flatten().for_each(|to| before[*to] += 1);
        let mut free: VecDeque<usize> = (0..before.len()).filter(|node| before[*node] == 0).collect();
        while let Some(node) = free.pop_front() {
            for to in &self.edges[node] {
                before[*to] -= 1;
                if before[*to] == 0 {
                    free.push_back(*to);
                }
            }
        }
        (0..before.len()).filter(|node| before[*node] > 0).collect()
    }
}

fn circle(txns: &[Txn], seen: &[Vec<(&str, &str)>], longest: &BTreeMap<&str, &str>) -> Option<String> {
    let own = txns.iter().enumerate().filter_map(|(at, txn)| Some((book::element(txn.writes.values().next()?), at)));
    let writers: BTreeMap<&str, usize> = own.collect();
    // A moment after each transaction that ended, in their order.
    let mut graph = Graph { edges: vec![Vec::new(); txns.len() * 2] };
    moments(txns, &mut graph);
    for value in longest.values() {
        let order: Vec<usize> = elements(value).filter_map(|element| writers.get(element).copied()).collect();
        order.windows(2).for_each(|pair| graph.comes_first(pair[0], pair[1]));
    }
    for (at, seen) in seen.iter().enumerate() {
        for (key, value) in seen {
            let count = elements(value).count();
            let around = |place: Option<usize>| Some(*writers.get(elements(longest[key]).nth(place?)?)?);
            around(count.checked_sub(1)).into_iter().for_each(|last| graph.comes_first(last, at));
            around(Some(count)).into_iter().for_each(|next| graph.comes_first(at, next));
        }
    }
    let left: Vec<String> = graph.left_over().into_iter().filter_map(|at| Some(name(txns.get(at)?))).collect();
    (!left.is_empty()).then(|| {
        format!("{} transactions are in no order, among them {}", left.len(), left[..left.len().min(NAMED)].join(", "))
    })
}

fn name(txn: &Txn) -> String {
    format!("{} at {:.3} s", txn.process, txn.invoked.as_secs_f64())
}

fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(SEPARATOR).filter(|element| !element.is_empty())
}

/// Whoever ended leads to the moment after it, that to the next moment, and to all that began since.
fn moments(txns: &[Txn], graph: &mut Graph) {
    let ended = |at: &usize| !matches!(txns[*at].outcome, TxnOutcome::Unknown(_));
    let mut ends: Vec<usize> = (0..txns.len()).filter(ended).collect();
    ends.sort_by_key(|at| txns[*at].returned);
    let moment = |place: usize| txns.len() + place;
    for (place, at) in ends.iter().enumerate() {
        graph.comes_first(*at, moment(place));
        if place > 0 {
            graph.comes_first(moment(place - 1), moment(place));
        }
    }
    for (at, txn) in txns.iter().enumerate() {
        let over = ends.partition_point(|end| txns[*end].returned < txn.invoked);
        if let Some(last) = over.checked_sub(1) {
            graph.comes_first(moment(last), at);
        }
    }
}
