//! Real time: one sweep over all beginnings and ends. Every call gets the earliest place in the order that
//! its answer allows; what begins later may not come before it.

use std::collections::BTreeMap;

use super::book::Book;
use super::describe;
use crate::checkers::Violations;
use crate::history::{Age, Call, Op, Outcome, Version};
use crate::truth::{Step, Truth};

/// What was known when a call began.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The last place of everything that was over.
    over: u64,
    /// The newest that this replica had shown in a list.
    shown: u64,
}

pub(super) fn check(ops: &[Op], truth: &Truth, book: &Book<'_>) -> Violations {
    let mut boundaries: Vec<(std::time::Duration, bool, usize)> = Vec::with_capacity(ops.len() * 2);
    for (index, op) in ops.iter().enumerate() {
        boundaries.push((op.invoked, false, index));
        boundaries.push((op.returned, true, index));
    }
    boundaries.sort_unstable();
    let mut violations = Violations::new();
    let mut known = vec![Known::default(); ops.len()];
    let mut over = truth.from;
    let mut shown: BTreeMap<usize, u64> = BTreeMap::new();
    for (_, returns, index) in boundaries {
        let op = &ops[index];
        if !returns {
            known[index] = Known { over, shown: shown.get(&op.replica).copied().unwrap_or(0) };
            continue;
        }
        match place(op, known[index], truth, book) {
            Ok(Some(place)) => {
                if let Outcome::Listed { revision, .. } = op.outcome {
                    let shown = shown.entry(op.replica).or_default();
                    *shown = (*shown).max(revision);
                }
                over = over.max(place);
            }
            Ok(None) => {}
            Err(why) => violations.push(why),
        }
    }
    violations
}

/// Where the call is in the order, when that says something to those that come later.
fn place(op: &Op, known: Known, truth: &Truth, book: &Book<'_>) -> Result<Option<u64>, String> {
    if op.call.is_write() {
        return write(op, known, book);
    }
    let place = match (&op.call, &op.outcome) {
        (Call::Get { name }, Outcome::Got(found)) => {
            let life = book.lives.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            get(op, known.over, truth.from, life, found.as_ref())?
        }
        (Call::List { age, .. }, Outcome::Listed { revision, .. }) => list(op, known, truth, *age, *revision)?,
        _ => return Ok(None),
    };
    if book.begun(place) > op.returned {
        return Err(format!("from the future: {} shows revision {place}, of which a part began later", describe(op)));
    }
    Ok(Some(place))
}

/// Also of a write whose end is unknown: it did not happen before it began. It is never over.
fn write(op: &Op, known: Known, book: &Book<'_>) -> Result<Option<u64>, String> {
    let events = book.events_of(&op.call);
    let Some(event) = events.first().filter(|_| !matches!(op.outcome, Outcome::Refused { .. })) else {
        return Ok(None);
    };
    if event.revision() <= known.over {
        if matches!(op.outcome, Outcome::Unknown(_)) && book.has_rival(&op.call) {
            return Ok(None);
        }
        let (at, over) = (event.revision(), known.over);
        return Err(format!("{} happened at {at}, but {over} was over before it began", describe(op)));
    }
    Ok(op.is_acknowledged_write().then_some(event.revision()))
}

/// The first revision from `over` on at which the object was as found.
fn get(op: &Op, over: u64, from: u64, life: &[Step], found: Option<&Version>) -> Result<u64, String> {
    let born = std::iter::once((from, None)).chain(life.iter().cloned());
    let ends = life.iter().map(|(revision, _)| *revision).chain(std::iter::once(u64::MAX));
    let mut fits = born.zip(ends).filter(|((_, version), _)| version.as_ref() == found).peekable();
    if fits.peek().is_none() {
        return Err(format!("{} answered {found:?}, which never was", describe(op)));
    }
    let in_time = fits.find(|(_, end)| over < *end);
    in_time
        .map(|((start, _), _)| start.max(over))
        .ok_or_else(|| format!("stale: {} answered {found:?}, but {over} was over before it began", describe(op)))
}

fn list(op: &Op, known: Known, truth: &Truth, age: Age, revision: u64) -> Result<u64, String> {
    if revision > truth.upto {
        return Err(format!("from the future: {} shows {revision}, the last is {}", describe(op), truth.upto));
    }
    let wrong = match age {
        Age::Latest if revision < known.over => format!("{} was over before it began (stale)", known.over),
        Age::Any if revision < known.shown => format!("replica {} had shown {} before", op.replica, known.shown),
        Age::NotOlderThan(asked) if revision < asked => format!("it asked for {asked} or later"),
        Age::Exact(asked) if revision != asked => format!("it asked for exactly {asked}"),
        _ => return Ok(revision),
    };
    Err(format!("{} shows {revision}, but {wrong}", describe(op)))
}
