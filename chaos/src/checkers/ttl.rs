//! Leases with times to live: a lease lives at least its time from the beginning of its last acknowledged renewal, on
//! the client's clock, and so do its keys; nobody who asks later than it was seen gone is told that it lives. One that
//! nobody renews is gone some time after its time, and all of its keys in one revision with it.
//!
//! A lease may get its time anew whenever another replica begins to lead, and nothing ends while nobody leads: each
//! fault that it lives through may make it end later, never earlier.

mod life;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violations;
use crate::history::{Keyed, LeaseAnswer, LeaseAsk, LeaseCall, TtlLog};
use life::Life;

/// `faults`: from when to when each fault struck and was recovered from. `late`: besides twice its time, a lease that
/// nobody renews may take so much longer.
pub fn check(log: &TtlLog, faults: &[(Duration, Duration)], late: Duration) -> Violations {
    let Some((first, told)) = log.told.first() else { return Violations::new() };
    let mut violations = Violations::new();
    for (other, others) in &log.told[1..] {
        violations.extend(differs(told, others).map(|what| format!("replica {other} and replica {first}: {what}")));
    }
    for (at, seen) in log.seen.iter().enumerate() {
        violations.extend(watched(seen, told).map(|what| format!("watcher {at}: {what}")));
    }
    let book = Book::new(told);
    violations.extend(written(&log.calls, &book));
    for (lease, calls) in by_lease(&log.calls) {
        let life = Life::new(&calls, &log.seen);
        let found = [life.ends_early(), life.is_told_alive_after(), life.ends_late(faults, late, log.over)];
        violations.extend(found.into_iter().flatten().map(|why| format!("lease {lease:x}: {why}")));
        violations.extend(life.lacks().into_iter().map(|why| format!("lease {lease:x}: {why}")));
        violations.extend(book.ends(lease).into_iter().map(|why| format!("lease {lease:x}: {why}")));
    }
    let over = log.over.as_secs_f64();
    violations.extend(log.left.iter().map(|lease| format!("lease {lease:x}: it is there at {over:.3} s, unrenewed")));
    violations
}

fn by_lease(calls: &[LeaseCall]) -> BTreeMap<i64, Vec<&LeaseCall>> {
    let mut leases: BTreeMap<i64, Vec<&LeaseCall>> = BTreeMap::new();
    calls.iter().for_each(|call| leases.entry(call.lease).or_default().push(call));
    leases
}

/// Where two tellings part.
fn differs(one: &[Keyed], other: &[Keyed]) -> Option<String> {
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    Some(format!("one tells {:?}, the other {:?}", other.get(at), one.get(at)))
}

/// A watcher is told everything once and in order, up to the end.
fn watched(seen: &[(Duration, Keyed)], told: &[Keyed]) -> Option<String> {
    let seen: Vec<Keyed> = seen.iter().map(|(_, keyed)| keyed.clone()).collect();
    differs(told, &seen)
}

/// What happened to each lease's keys, by what is told.
struct Book<'a> {
    puts: BTreeMap<i64, BTreeMap<&'a str, u64>>,
    deletions: BTreeMap<&'a str, Vec<u64>>,
}

impl<'a> Book<'a> {
    fn new(told: &'a [Keyed]) -> Self {
        let mut book = Self { puts: BTreeMap::new(), deletions: BTreeMap::new() };
        for keyed in told {
            match keyed.value {
                Some(_) if keyed.lease != 0 => {
                    book.puts.entry(keyed.lease).or_default().insert(&keyed.key, keyed.revision);
                }
                Some(_) => {}
                None => book.deletions.entry(&keyed.key).or_default().push(keyed.revision),
            }
        }
        book
    }

    /// All keys of a lease that has ended went at once, and none came later.
    fn ends(&self, lease: i64) -> Violations {
        let Some(puts) = self.puts.get(&lease) else { return Violations::new() };
        let gone = |key: &str| self.deletions.get(key).map_or(&[][..], Vec::as_slice);
        let first = puts.keys().flat_map(|key| gone(key)).min();
        let Some(first) = first else { return vec![format!("it is over, and none of its keys {puts:?} is gone")] };
        let mut violations = Violations::new();
        for (key, put) in puts {
            match gone(key) {
                [] if put > first => violations.push(format!("{key} was put at {put}, after its end at {first}")),
                [] => violations.push(format!("{key} outlives it, which ended at {first}")),
                [at] if at == first => {}
                several => violations.push(format!("{key} went at {several:?}, another of its keys at {first}")),
            }
        }
        violations
    }
}

/// What was attached is there, as it was acknowledged; what was not to be is not.
fn written(calls: &[LeaseCall], book: &Book<'_>) -> Violations {
    let mut violations = Violations::new();
    let mut attached: BTreeMap<i64, usize> = BTreeMap::new();
    for call in calls {
        let LeaseAsk::Attach(key) = &call.ask else { continue };
        let put = book.puts.get(&call.lease).and_then(|puts| puts.get(key.as_str()));
        *attached.entry(call.lease).or_default() += usize::from(put.is_some());
        match (&call.answer, put) {
            (LeaseAnswer::Attached(said), put) if put != Some(said) => {
                violations.push(format!("{key} was acknowledged at {said}, it was put at {put:?}"));
            }
            (LeaseAnswer::Ended | LeaseAnswer::Refused(_), Some(put)) => {
                violations.push(format!("{key} was refused ({:?}) and put at {put}", call.answer));
            }
            _ => {}
        }
    }
    let strange = book.puts.iter().filter(|(lease, puts)| puts.len() > attached.get(lease).copied().unwrap_or(0));
    violations.extend(strange.map(|(lease, puts)| format!("lease {lease:x}: of {puts:?} some are nobody's")));
    violations
}

#[cfg(test)]
mod tests;
