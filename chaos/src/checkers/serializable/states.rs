//! A list shows the state at its revision, whole.

use std::collections::BTreeMap;

use super::describe;
use crate::checkers::Violations;
use crate::history::{Call, Kind, Op, Outcome, Version};
use crate::truth::Truth;

type Objects = [(String, Version)];

pub(super) fn check(ops: &[Op], truth: &Truth) -> Violations {
    let mut lists: Vec<(u64, &str, &Objects, &Op)> = ops.iter().filter_map(list).collect();
    lists.sort_by_key(|(revision, ..)| *revision);
    let mut violations: Violations = ops.iter().filter_map(torn).collect();
    let mut states: BTreeMap<&str, BTreeMap<&str, Version>> = BTreeMap::new();
    let mut events = truth.events.iter().peekable();
    for (revision, workload, objects, op) in lists {
        while let Some(event) = events.next_if(|event| event.revision() <= revision) {
            let state = states.entry(&event.object.workload).or_default();
            let version = Version { revision: event.revision(), value: event.object.value.clone() };
            match event.kind {
                Kind::Deleted => state.remove(event.object.name.as_str()),
                Kind::Added | Kind::Modified => state.insert(&event.object.name, version),
            };
        }
        let state = states.entry(workload).or_default();
        if let Some(difference) = difference(state, objects) {
            violations.push(format!("{} is not the state at {revision}: {difference}", describe(op)));
        }
    }
    violations
}

fn torn(op: &Op) -> Option<String> {
    let Outcome::Torn { first, then } = op.outcome else { return None };
    Some(format!("{}: its first page is at {first}, another at {then}", describe(op)))
}

fn list(op: &Op) -> Option<(u64, &str, &Objects, &Op)> {
    match (&op.call, &op.outcome) {
        (Call::List { workload, .. }, Outcome::Listed { revision, objects }) => {
            Some((*revision, workload, objects, op))
        }
        _ => None,
    }
}

fn difference(state: &BTreeMap<&str, Version>, objects: &Objects) -> Option<String> {
    let shown: BTreeMap<&str, &Version> = objects.iter().map(|(name, version)| (name.as_str(), version)).collect();
    if shown.len() != objects.len() {
        return Some("an object is there twice".to_owned());
    }
    for (name, version) in state {
        if shown.get(name) != Some(&version) {
            return Some(format!("{name} is {:?}, it was {version:?}", shown.get(name)));
        }
    }
    let extra = shown.keys().find(|name| !state.contains_key(*name))?;
    Some(format!("{extra} did not exist"))
}
