//! All checkers on everything that was seen in a round.

use std::collections::BTreeMap;

use crate::checkers::{self, Violations};
use crate::history::{Op, Version};
use crate::round::History;
use crate::workloads::{append, churn, leases, mix, register, set, ttl};

/// A checker by its name.
pub type Checker = (&'static str, fn(&History) -> Violations);

pub const CHECKERS: [Checker; 14] = [
    ("serializable", |history| checkers::serializable::check(&history.ops, &history.truth)),
    ("linearizable", linearizable),
    ("set", |history| {
        checkers::set::check(&of(history, set::WORKLOAD), &finals(history, &format!("-{}", set::WORKLOAD)))
    }),
    ("append", |history| checkers::append::check(&of(history, append::WORKLOAD), &finals(history, "-list-"))),
    ("watch", |history| {
        let (truth, compactions) = (&history.truth, &history.compaction);
        history.watches.iter().flat_map(|log| checkers::watch::check(log, truth, compactions)).collect()
    }),
    ("lease", |history| {
        let counter = leases::counter(&history.round);
        checkers::lease::check(&history.leases, &history.truth, &counter, leases::DURATION)
    }),
    ("transactions", |history| checkers::transactions::check(&history.store)),
    ("cycles", |history| {
        let told = history.store.told.first().map_or(&[][..], |(_, told)| told);
        checkers::transactions::cycles::check(&history.store.txns, told)
    }),
    ("ttl", |history| checkers::ttl::check(&history.ttl, &history.struck, ttl::LATE)),
    ("compaction", |history| checkers::compaction::check(&history.compaction, &history.ops, history.truth.from)),
    ("growth", |history| checkers::growth::check(&history.growth)),
    ("merge", |history| checkers::merge::merge(history.truth.from, history.truth.upto, &history.told).1),
    ("convergence", |history| checkers::convergence::check(&history.looks, history.told.len())),
    ("log", |history| history.logs.iter().flat_map(|(replica, text)| checkers::log::check(*replica, text)).collect()),
];

/// Whose objects only change version by version: what clients say of those is enough to find an order.
const COMPARED: [&str; 5] = [register::WORKLOAD, mix::WORKLOAD, append::WORKLOAD, churn::WORKLOAD, leases::WORKLOAD];

fn linearizable(history: &History) -> Violations {
    COMPARED.iter().flat_map(|workload| checkers::linearizable::check(&of(history, workload))).collect()
}

/// What all of them find, each with its checker's name before it.
pub fn judge(history: &History) -> Violations {
    let one = |(name, check): &Checker| -> Violations {
        check(history).into_iter().map(|violation| format!("[{name}] {violation}")).collect()
    };
    CHECKERS.iter().flat_map(one).collect()
}

/// Calls of one workload.
fn of(history: &History, workload: &str) -> Vec<Op> {
    history.ops.iter().filter(|op| op.process.starts_with(workload)).cloned().collect()
}

/// Objects that are there in the end, by a part of their name.
fn finals<'a>(history: &'a History, part: &str) -> BTreeMap<&'a str, Version> {
    let finals = history.truth.finals().into_iter();
    finals.filter(|(name, _)| name.contains(part)).collect()
}
