//! A watcher sees every matching event once and in order, over all its reconnections.
//!
//! For workloads that create objects under unique names and never change them: the final list is the truth.

use std::collections::BTreeMap;

use super::Violations;
use crate::history::{Final, WatchLog};

pub fn check(log: &WatchLog, finals: &[Final]) -> Violations {
    let mut violations = Violations::new();
    let who = &log.watcher;
    for pair in log.events.windows(2) {
        if pair[1].revision <= pair[0].revision {
            violations.push(format!("{who}: revision {} came after {}", pair[1].revision, pair[0].revision));
        }
    }
    let truth: BTreeMap<u64, &str> =
        finals.iter().filter(|one| one.revision > log.from).map(|one| (one.revision, one.name.as_str())).collect();
    let mut seen: BTreeMap<u64, &str> = BTreeMap::new();
    for event in &log.events {
        if event.kind != "ADDED" {
            violations.push(format!("{who}: {} of {}, which nobody did", event.kind, event.name));
        }
        if truth.get(&event.revision) != Some(&event.name.as_str()) {
            violations.push(format!("{who}: {} at {} is not what happened", event.name, event.revision));
        }
        if seen.insert(event.revision, &event.name).is_some() {
            violations.push(format!("{who}: {} at {} came twice", event.name, event.revision));
        }
    }
    for (revision, name) in &truth {
        if !seen.contains_key(revision) {
            violations.push(format!("{who}: missed {name} at {revision}"));
        }
    }
    if log.gone > 0 {
        violations.push(format!("{who}: {} answers of 410 inside the window", log.gone));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Seen;

    fn finals() -> Vec<Final> {
        (1..=4).map(|revision| Final { name: format!("n{revision}"), revision }).collect()
    }

    fn log(revisions: &[u64]) -> WatchLog {
        let seen = |revision: &u64| Seen { kind: "ADDED", name: format!("n{revision}"), revision: *revision };
        WatchLog { watcher: "w".into(), from: 1, events: revisions.iter().map(seen).collect(), ..WatchLog::default() }
    }

    #[test]
    fn a_whole_sequence_passes() {
        assert_eq!(check(&log(&[2, 3, 4]), &finals()), Violations::new());
    }

    #[test]
    fn planted_violations_are_caught() {
        let wrong: [(&str, &[u64]); 5] = [
            ("missed", &[2, 4]),
            ("twice", &[2, 3, 3, 4]),
            ("out of order", &[3, 2, 4]),
            ("before the start", &[1, 2, 3, 4]),
            ("missed at the end", &[2, 3]),
        ];
        for (name, revisions) in wrong {
            assert!(!check(&log(revisions), &finals()).is_empty(), "{name}");
        }
        let mut other = log(&[2, 3, 4]);
        other.events[1].name = "x".into();
        assert!(!check(&other, &finals()).is_empty(), "another object");
        let mut gone = log(&[2, 3, 4]);
        gone.gone = 1;
        assert!(!check(&gone, &finals()).is_empty(), "410 inside the window");
    }
}
