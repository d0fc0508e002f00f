//! One lease, as those saw it who had to do with it. All of it is by the client's clock.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checkers::Violations;
use crate::history::{Keyed, LeaseAnswer, LeaseAsk, LeaseCall};

/// Somebody knew at this time that it was gone.
struct Gone {
    at: Duration,
    how: String,
}

pub(super) struct Life<'a> {
    calls: &'a [&'a LeaseCall],
    ttl: Duration,
    /// In the order of their times.
    gone: Vec<Gone>,
}

impl<'a> Life<'a> {
    pub(super) fn new(calls: &'a [&'a LeaseCall], seen: &[Vec<(Duration, Keyed)>]) -> Self {
        let ttl = calls.iter().map(|call| call.ttl).max().unwrap_or_default();
        let keys: BTreeSet<&str> = calls.iter().filter_map(|call| key(call)).collect();
        let answered = calls.iter().filter(|call| call.answer == LeaseAnswer::Ended);
        let mut gone: Vec<Gone> =
            answered.map(|call| Gone { at: call.returned, how: format!("{:?} said so", call.ask) }).collect();
        let deleted = seen.iter().flatten().filter(|(_, keyed)| keyed.value.is_none());
        let own = deleted.filter(|(_, keyed)| keys.contains(keyed.key.as_str()));
        gone.extend(own.map(|(at, keyed)| Gone { at: *at, how: format!("{} went at {}", keyed.key, keyed.revision) }));
        gone.sort_by_key(|gone| gone.at);
        Self { calls, ttl, gone }
    }

    /// Whether somebody had asked by then that it be ended.
    fn revoked(&self, by: Duration) -> bool {
        let refused = |call: &LeaseCall| matches!(call.answer, LeaseAnswer::Refused(_));
        self.calls.iter().any(|call| call.ask == LeaseAsk::Revoke && !refused(call) && call.invoked < by)
    }

    fn renewals(&self) -> impl Iterator<Item = &LeaseCall> {
        self.calls.iter().copied().filter(|call| call.renews() && call.answer == LeaseAnswer::Alive)
    }

    /// Seen gone although its time since the beginning of an acknowledged renewal was not over.
    pub(super) fn ends_early(&self) -> Option<String> {
        let early = |gone: &Gone| {
            let last = self.renewals().map(|call| call.invoked).filter(|invoked| *invoked < gone.at).max()?;
            (gone.at < last + self.ttl && !self.revoked(gone.at)).then(|| last + self.ttl - gone.at)
        };
        self.gone.iter().find_map(|gone| {
            let early = early(gone)?;
            Some(format!("it ended {early:?} before its {:?} were over at {}: {}", self.ttl, say(gone.at), gone.how))
        })
    }

    /// Whoever asks after it was seen gone is not told that it lives.
    pub(super) fn is_told_alive_after(&self) -> Option<String> {
        let gone = self.gone.first()?;
        let undead = self.calls.iter().find(|call| call.says_alive() && call.invoked > gone.at)?;
        let (at, through) = (say(undead.invoked), undead.replica);
        Some(format!(
            "{:?} through {through} at {at} found it alive, gone since {}: {}",
            undead.ask,
            say(gone.at),
            gone.how
        ))
    }

    /// Gone some time after nobody renewed it any more. What was asked without an answer may renew it much later.
    pub(super) fn ends_late(&self, faults: &[(Duration, Duration)], late: Duration, over: Duration) -> Option<String> {
        let unknown = |call: &LeaseCall| call.renews() && matches!(call.answer, LeaseAnswer::Unknown(_));
        let attached = self.calls.iter().any(|call| matches!(call.answer, LeaseAnswer::Attached(_)));
        if self.calls.iter().any(|call| unknown(call)) || !attached {
            return None;
        }
        let last = self.renewals().map(|call| call.returned).max()?;
        let due = due(last, self.ttl, faults, late) + self.ttl + late;
        let alive = self.calls.iter().find(|call| call.says_alive() && call.invoked > due);
        if let Some(alive) = alive {
            return Some(format!("{:?} found it alive at {}, due by {}", alive.ask, say(alive.invoked), say(due)));
        }
        match self.gone.first() {
            Some(gone) if gone.at > due => Some(format!("it was gone at {}, due by {}", say(gone.at), say(due))),
            None if over > due => Some(format!("nobody saw it go, due by {}", say(due))),
            _ => None,
        }
    }

    /// A lease that lives has all keys that were attached to it.
    pub(super) fn lacks(&self) -> Violations {
        let mut violations = Violations::new();
        for call in self.calls {
            let LeaseAnswer::AliveWith(keys) = &call.answer else { continue };
            let before = self.calls.iter().filter(|other| other.returned < call.invoked);
            let attached = before.filter(|other| matches!(other.answer, LeaseAnswer::Attached(_)));
            let lacking = attached.filter_map(|other| key(other)).find(|key| !keys.iter().any(|own| own == key));
            let at = say(call.invoked);
            violations.extend(lacking.map(|key| format!("at {at} it had the keys {keys:?}, without {key}")));
        }
        violations
    }
}

fn key(call: &LeaseCall) -> Option<&str> {
    match &call.ask {
        LeaseAsk::Attach(key) => Some(key),
        _ => None,
    }
}

/// When its time is over that was renewed for the last time at `last`. After each fault that it lived through, it may
/// have begun anew; what is late may be so until the next fault.
fn due(last: Duration, ttl: Duration, faults: &[(Duration, Duration)], late: Duration) -> Duration {
    let mut faults = faults.to_vec();
    faults.sort_unstable();
    faults.iter().fold(last + ttl, |due, (from, until)| {
        let lived_through = *from <= due + ttl + late && *until >= last;
        if lived_through { due.max(*until + ttl) } else { due }
    })
}

fn say(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::ms;

    #[test]
    fn each_fault_that_a_lease_lives_through_may_give_it_its_time_again() {
        let due = |faults: &[(u64, u64)]| {
            let faults: Vec<_> = faults.iter().map(|(from, until)| (ms(*from), ms(*until))).collect();
            due(ms(1_000), ms(100), &faults, ms(50))
        };
        assert_eq!(due(&[]), ms(1_100));
        assert_eq!(due(&[(100, 900)]), ms(1_100), "over before");
        assert_eq!(due(&[(100, 1_050)]), ms(1_150));
        assert_eq!(due(&[(1_300, 1_400), (1_200, 1_250)]), ms(1_500));
        assert_eq!(due(&[(1_300, 1_400)]), ms(1_100), "it had to be gone before");
    }
}
