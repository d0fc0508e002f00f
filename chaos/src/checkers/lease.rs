//! Leadership by Lease objects, by client-go's rules, and writes that are fenced by it.
//!
//! Nobody takes a Lease over before its duration is over; every change of the holder is a new epoch; no two
//! candidates believe at the same time that they lead; a leader that was replaced changes nothing any more.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violations;
use crate::history::{LeaseAttempt, LeaseLog, LeaseVersion, Outcome};
use crate::truth::Truth;

/// What the fenced leader writes: its epoch, a number that grows by one, and a name for the write.
pub fn counter_value(epoch: u64, count: u64, who: &str) -> String {
    format!("{epoch}:{count}:{who}")
}

pub fn parse_counter(value: &str) -> Option<(u64, u64, &str)> {
    let (epoch, rest) = value.split_once(':')?;
    let (count, who) = rest.split_once(':')?;
    Some((epoch.parse().ok()?, count.parse().ok()?, who))
}

/// `truth` has the counter's history, under the name `counter`.
pub fn check(log: &LeaseLog, truth: &Truth, counter: &str, duration: Duration) -> Violations {
    let mut violations = attempts(log);
    violations.extend(epochs(&log.versions));
    violations.extend(takeovers(log, duration));
    violations.extend(reigns(log));
    violations.extend(fenced(truth, counter));
    violations
}

fn attempts(log: &LeaseLog) -> Violations {
    let versions: BTreeMap<&str, &LeaseVersion> =
        log.versions.iter().map(|version| (version.attempt.as_str(), version)).collect();
    let mut violations = Violations::new();
    for attempt in &log.attempts {
        match (&attempt.outcome, versions.get(attempt.attempt.as_str())) {
            (Outcome::Written(_), None) => violations.push(format!("lost: {} was acknowledged", attempt.attempt)),
            (Outcome::Written(said), Some(version)) if *said != version.revision => {
                violations.push(format!("{} was acknowledged at {said}, not {}", attempt.attempt, version.revision));
            }
            (Outcome::Refused { .. }, Some(version)) => {
                violations.push(format!("{} was refused and happened at {}", attempt.attempt, version.revision));
            }
            _ => {}
        }
    }
    violations
}

/// An epoch has one holder; another holder is another epoch.
fn epochs(versions: &[LeaseVersion]) -> Violations {
    let mut violations = Violations::new();
    let mut holder_of: BTreeMap<u64, &str> = BTreeMap::new();
    for pair in versions.windows(2) {
        if pair[1].transitions < pair[0].transitions {
            let (before, after) = (pair[0].transitions, pair[1].transitions);
            violations.push(format!("the epoch went back from {before} to {after} at {}", pair[1].revision));
        }
    }
    for version in versions.iter().filter(|version| !version.holder.is_empty()) {
        let holder = holder_of.entry(version.transitions).or_insert(&version.holder);
        if *holder != version.holder {
            let (epoch, at) = (version.transitions, version.revision);
            violations.push(format!("two holders of epoch {epoch}: {holder} and {} at {at}", version.holder));
        }
    }
    violations
}

/// From the beginning of the last renewal to the end of the takeover it is at least the Lease's duration:
/// the new holder saw that renewal, and then waited.
fn takeovers(log: &LeaseLog, duration: Duration) -> Violations {
    let attempts: BTreeMap<&str, &LeaseAttempt> =
        log.attempts.iter().map(|attempt| (attempt.attempt.as_str(), attempt)).collect();
    let mut violations = Violations::new();
    for pair in log.versions.windows(2) {
        let taken = !pair[0].holder.is_empty() && !pair[1].holder.is_empty() && pair[0].holder != pair[1].holder;
        let (Some(last), Some(next)) = (attempts.get(pair[0].attempt.as_str()), attempts.get(pair[1].attempt.as_str()))
        else {
            violations.push(format!("nobody wrote the Lease at {} or {}", pair[0].revision, pair[1].revision));
            continue;
        };
        // An unknown attempt may have taken effect after it was given up.
        let known = matches!(next.outcome, Outcome::Written(_));
        if taken && known && next.returned < last.invoked + duration {
            let early = last.invoked + duration - next.returned;
            violations.push(format!("{} took over {early:?} early at {}", next.candidate, pair[1].revision));
        }
    }
    violations
}

fn reigns(log: &LeaseLog) -> Violations {
    let mut reigns: Vec<_> = log.reigns.iter().collect();
    reigns.sort_by_key(|reign| reign.from);
    let mut violations = Violations::new();
    for (index, reign) in reigns.iter().enumerate() {
        for later in reigns[index + 1..].iter().take_while(|later| later.from < reign.until) {
            if later.candidate != reign.candidate {
                violations.push(format!("two leaders: {reign:?} and {later:?}"));
            }
        }
    }
    violations
}

/// The counter grows by one with every write, and its epochs never go back.
fn fenced(truth: &Truth, counter: &str) -> Violations {
    let mut violations = Violations::new();
    let mut before: Option<(u64, u64, &str)> = None;
    let mut writer_of: BTreeMap<u64, &str> = BTreeMap::new();
    for event in truth.events.iter().filter(|event| event.object.name == counter) {
        let Some(now) = parse_counter(&event.object.value) else {
            violations.push(format!("{:?} is no counter", event.object.value));
            continue;
        };
        let at = event.revision();
        if let Some(before) = before {
            if now.0 < before.0 {
                violations.push(format!("a leader of epoch {} wrote at {at} after one of {}", now.0, before.0));
            }
            if now.1 != before.1 + 1 {
                violations.push(format!("the counter went from {} to {} at {at}", before.1, now.1));
            }
        }
        let writer = now.2.split('-').next().unwrap_or("");
        if *writer_of.entry(now.0).or_insert(writer) != writer {
            violations.push(format!("two leaders of epoch {} wrote, {writer} at {at}", now.0));
        }
        before = Some(now);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::*;
    use crate::history::{Kind, Reign};

    const DURATION: Duration = Duration::from_millis(100);

    fn attempt(name: &str, candidate: &str, invoked: u64, revision: u64) -> LeaseAttempt {
        LeaseAttempt {
            attempt: name.into(),
            candidate: candidate.into(),
            invoked: ms(invoked),
            returned: ms(invoked + 5),
            outcome: Outcome::Written(revision),
        }
    }

    fn lease(revision: u64, holder: &str, transitions: u64, attempt: &str) -> LeaseVersion {
        LeaseVersion { revision, holder: holder.into(), transitions, attempt: attempt.into() }
    }

    fn reign(candidate: &str, epoch: u64, from: u64, until: u64) -> Reign {
        Reign { candidate: candidate.into(), epoch, from: ms(from), until: ms(until) }
    }

    fn good() -> (LeaseLog, Truth) {
        let log = LeaseLog {
            attempts: vec![attempt("a-1", "a", 0, 1), attempt("a-2", "a", 50, 2), attempt("b-1", "b", 160, 5)],
            reigns: vec![reign("a", 0, 5, 130), reign("b", 1, 165, 300)],
            versions: vec![lease(1, "a", 0, "a-1"), lease(2, "a", 0, "a-2"), lease(5, "b", 1, "b-1")],
        };
        let counter = truth(&[
            (Kind::Added, 3, "counter", "0:1:a-1"),
            (Kind::Modified, 4, "counter", "0:2:a-2"),
            (Kind::Modified, 6, "counter", "1:3:b-1"),
        ]);
        (log, counter)
    }

    fn planted(change: impl FnOnce(&mut LeaseLog, &mut Truth)) -> Violations {
        let (mut log, mut truth) = good();
        change(&mut log, &mut truth);
        check(&log, &truth, "counter", DURATION)
    }

    #[test]
    fn good_runs_pass() {
        assert_eq!(planted(|_, _| {}), Violations::new());
        let released = planted(|log, _| {
            log.attempts.push(attempt("b-2", "b", 170, 7));
            log.attempts.push(attempt("a-3", "a", 180, 8));
            log.versions.extend([lease(7, "", 1, "b-2"), lease(8, "a", 2, "a-3")]);
        });
        assert_eq!(released, Violations::new(), "who releases may be followed at once");
    }

    #[test]
    fn planted_violations_are_caught() {
        caught(&planted(|log, _| log.attempts[2].returned = ms(120)), "b took over 30ms early at 5");
        caught(&planted(|log, _| log.reigns[1].from = ms(120)), "two leaders");
        caught(&planted(|log, _| log.versions[2].transitions = 0), "two holders of epoch 0");
        caught(&planted(|log, _| log.versions[0].transitions = 3), "the epoch went back from 3 to 0");
        caught(&planted(|log, _| drop(log.versions.remove(1))), "lost: a-2");
        caught(&planted(|log, _| log.attempts[1].outcome = refused(409)), "a-2 was refused and happened");
        caught(&planted(|log, _| drop(log.attempts.remove(1))), "nobody wrote the Lease");
    }

    #[test]
    fn writes_of_a_replaced_leader_are_caught() {
        let late =
            |value: &'static str| planted(|_, truth| truth.events.push(event(Kind::Modified, 7, "counter", value)));
        caught(&late("0:4:a-3"), "a leader of epoch 0 wrote at 7 after one of 1");
        caught(&late("1:3:b-2"), "the counter went from 3 to 3");
        caught(&late("1:5:b-2"), "the counter went from 3 to 5");
        caught(&late("1:4:a-3"), "two leaders of epoch 1 wrote, a");
        caught(&late("nonsense"), "is no counter");
    }
}
