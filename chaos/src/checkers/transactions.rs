//! Transactions over several keys, and watches of them, through etcd's interface.
//!
//! The server says in which order it did things: every transaction that was acknowledged happened whole at its
//! revision, on top of what it was compared with; what was refused, or compared unequal, did not happen; what nobody
//! knows of happened whole or not at all. Reads show the state of their revision. What was over before something began
//! comes before it. Watchers are told everything once, in order, all of a revision at once.
//!
//! [`cycles`] believes no revision: it looks for an order in the lists alone.

mod book;
pub mod cycles;

use super::Violations;
use crate::history::{StoreWatch, Stored, Txn, TxnLog, TxnOutcome};
use book::Book;

pub fn check(log: &TxnLog) -> Violations {
    let Some((first, truth)) = log.told.first() else { return Violations::new() };
    let book = Book::new(truth);
    let mut violations = Violations::new();
    for (other, told) in &log.told[1..] {
        violations.extend(differs(truth, told).map(|what| format!("replica {other} and replica {first}: {what}")));
    }
    violations.extend(effects(&log.txns, &book));
    violations.extend(log.txns.iter().filter_map(|txn| compared(txn, &book).map(|why| say(txn, &why))));
    violations.extend(log.txns.iter().flat_map(|txn| read(txn, &book)));
    violations.extend(real_time(&log.txns));
    violations.extend(log.watches.iter().flat_map(|watch| watched(watch, truth)));
    violations
}

fn say(txn: &Txn, why: &str) -> String {
    let (keys, at) = (txn.writes.keys().collect::<Vec<_>>(), txn.invoked.as_secs_f64());
    format!("{} appending to {keys:?} through {} at {at:.3} s: {why}", txn.process, txn.replica)
}

/// Where two tellings part.
fn differs(one: &[Stored], other: &[Stored]) -> Option<String> {
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    Some(format!("one tells {:?}, the other {:?}", other.get(at), one.get(at)))
}

/// What happened is what was asked for, and was to happen.
fn effects(txns: &[Txn], book: &Book<'_>) -> Violations {
    let mut violations = Violations::new();
    let mut explained = 0;
    for txn in txns {
        let Some(element) = txn.writes.values().next().map(|value| book::element(value)) else { continue };
        let happened = book.of(element);
        explained += happened.values().map(|writes| writes.len()).sum::<usize>();
        let whole = |revision: &u64| happened.get(revision).is_some_and(|writes| **writes == book::borrowed(txn));
        let wrong = match (&txn.outcome, happened.len()) {
            (TxnOutcome::Done { succeeded: true, revision, .. }, 1) if whole(revision) => None,
            (TxnOutcome::Done { succeeded: true, revision, .. }, _) => {
                Some(format!("acknowledged at {revision}, it happened as {happened:?}"))
            }
            (TxnOutcome::Unknown(_), 0) => None,
            (TxnOutcome::Unknown(_), 1) if happened.keys().all(whole) => None,
            (TxnOutcome::Unknown(_), _) => Some(format!("it happened by half, or twice: {happened:?}")),
            (TxnOutcome::Done { succeeded: false, .. } | TxnOutcome::Refused(_), 0) => None,
            (TxnOutcome::Done { .. } | TxnOutcome::Refused(_), _) => {
                Some(format!("it was not to happen and did: {happened:?}"))
            }
        };
        violations.extend(wrong.map(|why| say(txn, &why)));
    }
    if explained < book.len() {
        violations.push(format!("{} of {} writes are nobody's", book.len() - explained, book.len()));
    }
    violations
}

/// What it compared was so, or was not, just before it.
fn compared(txn: &Txn, book: &Book<'_>) -> Option<String> {
    let TxnOutcome::Done { succeeded, revision, .. } = txn.outcome else { return None };
    let before = if succeeded { revision.checked_sub(1)? } else { revision };
    let unequal = txn.on.iter().find(|(key, on)| book.at(key, before).map_or(0, |stored| stored.revision) != **on);
    match (succeeded, unequal) {
        (true, Some((key, on))) => Some(format!("{key} was to be of {on}, it was {:?}", book.at(key, before))),
        (false, None) => Some(format!("compared unequal at {revision} for no reason")),
        _ => None,
    }
}

/// All that one transaction reads is of its revision.
fn read(txn: &Txn, book: &Book<'_>) -> Violations {
    let TxnOutcome::Done { revision, read, .. } = &txn.outcome else { return Violations::new() };
    let seen = |found: &Option<crate::history::Version>| {
        found.as_ref().map(|version| (version.revision, version.value.clone()))
    };
    let was = |key: &str| book.at(key, *revision).map(|stored| (stored.revision, stored.value.clone()));
    let wrong = read.iter().filter(|(key, found)| seen(found) != was(key));
    wrong.map(|(key, found)| say(txn, &format!("{key} was {:?} at {revision}, {found:?} was read", was(key)))).collect()
}

/// What was over before something began has the lower revision; a write has one of its own.
fn real_time(txns: &[Txn]) -> Violations {
    let done = |txn: &Txn| match txn.outcome {
        TxnOutcome::Done { succeeded, revision, .. } => Some((revision, succeeded && !txn.writes.is_empty())),
        _ => None,
    };
    let mut begun: Vec<(&Txn, u64, bool)> =
        txns.iter().filter_map(|txn| done(txn).map(|(revision, wrote)| (txn, revision, wrote))).collect();
    let mut over: Vec<(std::time::Duration, u64)> = begun.iter().map(|(txn, at, _)| (txn.returned, *at)).collect();
    over.sort_unstable();
    begun.sort_by_key(|(txn, ..)| txn.invoked);
    let (mut next, mut newest, mut violations) = (0, 0, Violations::new());
    for (txn, revision, wrote) in begun {
        while next < over.len() && over[next].0 < txn.invoked {
            newest = newest.max(over[next].1);
            next += 1;
        }
        if revision < newest || (wrote && revision == newest) {
            violations.push(say(txn, &format!("it is of {revision}, but {newest} was over before it began")));
        }
    }
    violations
}

fn watched(watch: &StoreWatch, truth: &[Stored]) -> Violations {
    let mut violations = Violations::new();
    let from = truth.partition_point(|stored| stored.revision <= watch.from);
    let upto = truth.partition_point(|stored| stored.revision <= watch.position());
    violations.extend(differs(&truth[from..upto], &watch.messages.concat()));
    let ends = watch.messages.windows(2).filter_map(|pair| Some((pair[0].last()?.revision, pair[1].first()?.revision)));
    let torn = ends.filter(|(end, begin)| end == begin);
    violations.extend(torn.map(|(at, _)| format!("what happened at {at} came in two messages")));
    // No round is longer than the history that is kept.
    let compacted = watch.cancelled.iter().filter(|(compacted, _)| *compacted != 0);
    violations.extend(compacted.map(|(at, why)| format!("it ended as compacted at {at} ({why})")));
    if !watch.caught_up {
        violations.push(format!("it did not catch up, but stopped at {}", watch.position()));
    }
    violations.into_iter().map(|why| format!("{}: {why}", watch.watcher)).collect()
}

#[cfg(test)]
mod tests;
