//! All replicas tell the same history: the same event at every revision (log matching, seen from outside).

use std::collections::BTreeMap;

use super::Violations;
use crate::history::Event;
use crate::truth::Truth;

/// The history by majority, and where a replica differs from it.
pub fn merge(from: u64, upto: u64, told: &[(usize, Vec<Event>)]) -> (Truth, Violations) {
    let mut violations = Violations::new();
    let mut at: BTreeMap<u64, Vec<(usize, &Event)>> = BTreeMap::new();
    for (replica, events) in told {
        for event in events {
            at.entry(event.revision()).or_default().push((*replica, event));
        }
    }
    let mut events = Vec::new();
    for (revision, here) in at {
        let Some(agreed) = majority(&here) else { continue };
        for (replica, _) in told {
            let mut own = here.iter().filter(|(by, _)| by == replica);
            match (own.next(), own.next()) {
                (Some((_, event)), None) if *event == agreed => {}
                (Some((_, event)), None) => violations
                    .push(format!("replica {replica} tells {event:?} at {revision}, the others tell {agreed:?}")),
                (Some(_), Some(_)) => violations.push(format!("replica {replica} tells {revision} twice")),
                (None, _) => violations.push(format!("replica {replica} does not tell {agreed:?} at {revision}")),
            }
        }
        events.push(agreed.clone());
    }
    (Truth { from, upto, events }, violations)
}

fn majority<'a>(here: &[(usize, &'a Event)]) -> Option<&'a Event> {
    let votes = |event: &Event| here.iter().filter(|(_, other)| *other == event).count();
    here.iter().map(|(_, event)| *event).max_by_key(|event| votes(event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::{caught, event};
    use crate::history::Kind;

    fn three(change: impl FnOnce(&mut Vec<Event>)) -> Vec<(usize, Vec<Event>)> {
        let events: Vec<Event> = (1..=4).map(|at| event(Kind::Added, at, "a", &format!("v{at}"))).collect();
        let mut third = events.clone();
        change(&mut third);
        vec![(1, events.clone()), (2, events), (3, third)]
    }

    #[test]
    fn equal_histories_are_one() {
        let (truth, violations) = merge(0, 4, &three(|_| {}));
        assert_eq!((truth.events.len(), violations), (4, Violations::new()));
    }

    #[test]
    fn planted_differences_are_caught() {
        let check = |change: fn(&mut Vec<Event>)| {
            let (truth, violations) = merge(0, 4, &three(change));
            assert_eq!(truth.events[1].object.value, "v2", "the majority wins");
            violations
        };
        caught(&check(|third| drop(third.remove(1))), "replica 3 does not tell");
        caught(&check(|third| third[1].object.value = "x".into()), "replica 3 tells Event");
        caught(&check(|third| third[1].kind = Kind::Modified), "replica 3 tells Event");
        caught(&check(|third| third[1].object.hash = 0), "replica 3 tells Event");
        caught(&check(|third| third.insert(1, third[1].clone())), "replica 3 tells 2 twice");
    }
}
