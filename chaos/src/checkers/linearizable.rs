//! Linearizability of single objects, whatever revisions say: Wing and Gong's search, one object at a time,
//! from one end of a call to the next, with the memo of configurations of Lowe.
//!
//! A configuration is the object's value and which of the open calls have taken effect. Between two ends of
//! calls any open call may; a configuration in which the ending call did not cannot be the truth. When none is
//! left, no order explains what the clients saw. Calls without an answer stay open for ever.
//!
//! The clients' own words are all that counts: a version is known by its value, and an update names the value
//! that it replaces.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Violations;
use crate::history::{Call, Op, Outcome};

/// Configurations kept at once. More than this is no answer, and no answer is a violation.
const MAX_CONFIGURATIONS: usize = 200_000;

pub fn check(ops: &[Op]) -> Violations {
    let mut objects: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops.iter().filter(|op| tells_something(op)) {
        if let Some(name) = op.call.name() {
            objects.entry(name).or_default().push(op);
        }
    }
    objects.into_iter().filter_map(|(name, ops)| Some(format!("{name}: {}", search(&ops)?))).collect()
}

/// Reads without an answer, and calls refused for reasons that say nothing of the object, do not.
fn tells_something(op: &Op) -> bool {
    match &op.outcome {
        Outcome::Unknown(_) => op.call.is_write(),
        Outcome::Refused { code, .. } => matches!(code, 404 | 409),
        _ => true,
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration<'a> {
    value: Option<&'a str>,
    /// Open calls that took effect.
    done: BTreeSet<usize>,
}

/// Why no order explains it; `None` when one does.
fn search(ops: &[&Op]) -> Option<String> {
    let mut boundaries: Vec<_> = ops.iter().enumerate().map(|(index, op)| (op.invoked, false, index)).collect();
    let answered = ops.iter().enumerate().filter(|(_, op)| !matches!(op.outcome, Outcome::Unknown(_)));
    boundaries.extend(answered.map(|(index, op)| (op.returned, true, index)));
    boundaries.sort_unstable();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let mut configurations = HashSet::from([Configuration { value: None, done: BTreeSet::new() }]);
    for (_, ends, index) in boundaries {
        if !ends {
            open.insert(index);
            continue;
        }
        let Some(reached) = explore(ops, &open, configurations) else {
            return Some(format!("undecided: more than {MAX_CONFIGURATIONS} configurations"));
        };
        configurations = reached.into_iter().filter_map(|one| after_end(one, index)).collect();
        open.remove(&index);
        if configurations.is_empty() {
            let (op, others) = (ops[index], open.iter().map(|other| &ops[*other].call).collect::<Vec<_>>());
            return Some(format!("no order explains {op:?}; open beside it: {others:?}"));
        }
    }
    None
}

fn after_end(mut configuration: Configuration<'_>, index: usize) -> Option<Configuration<'_>> {
    configuration.done.remove(&index).then_some(configuration)
}

/// Everything that can be reached when any of the open calls take effect in any order.
fn explore<'a>(
    ops: &[&'a Op],
    open: &BTreeSet<usize>,
    from: HashSet<Configuration<'a>>,
) -> Option<HashSet<Configuration<'a>>> {
    let mut unexplored: Vec<Configuration<'a>> = from.iter().cloned().collect();
    let mut reached = from;
    while let Some(configuration) = unexplored.pop() {
        for index in open.difference(&configuration.done) {
            let Some(value) = step(ops[*index], configuration.value) else { continue };
            let mut done = configuration.done.clone();
            done.insert(*index);
            let next = Configuration { value, done };
            if reached.insert(next.clone()) {
                unexplored.push(next);
            }
        }
        if reached.len() > MAX_CONFIGURATIONS {
            return None;
        }
    }
    Some(reached)
}

/// The object's value after the call, if at this value the call would have ended as it did.
fn step<'a>(op: &'a Op, value: Option<&'a str>) -> Option<Option<&'a str>> {
    let allowed = |condition: bool, then| condition.then_some(then);
    match (&op.call, &op.outcome) {
        (Call::Get { .. }, Outcome::Got(found)) => {
            allowed(found.as_ref().map(|version| version.value.as_str()) == value, value)
        }
        (Call::Create { .. }, Outcome::Refused { .. }) => allowed(value.is_some(), value),
        (Call::Create { value: new, .. }, _) => allowed(value.is_none(), Some(new)),
        (Call::Update { .. } | Call::Put { .. } | Call::Delete { .. }, Outcome::Refused { code: 404, .. }) => {
            allowed(value.is_none(), value)
        }
        (Call::Update { on, .. } | Call::Delete { on, .. }, Outcome::Refused { .. }) => {
            allowed(value.is_some() && value != Some(on.value.as_str()), value)
        }
        (Call::Put { .. }, Outcome::Refused { .. }) => Some(value),
        (Call::Update { value: new, on, .. }, _) => allowed(value == Some(on.value.as_str()), Some(new)),
        (Call::Put { value: new, .. }, _) => allowed(value.is_some(), Some(new)),
        (Call::Delete { on, .. }, _) => allowed(value == Some(on.value.as_str()), None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkers::support::*;

    fn verdict(ops: &[Op]) -> Violations {
        check(ops)
    }

    #[test]
    fn good_runs_pass() {
        let ops = [
            op(0, 5, create("a", "a1"), Outcome::Written(1)),
            op(6, 30, update("a", "a2", version(1, "a1")), Outcome::Written(2)),
            op(7, 29, update("a", "a3", version(1, "a1")), refused(409)),
            op(8, 20, get("a"), got(2, "a2")),
            op(21, 40, update("a", "a4", version(2, "a2")), unknown()),
            op(31, 33, get("a"), got(2, "a2")),
            // It took effect long after the client had given up.
            op(90, 91, get("a"), got(3, "a4")),
            op(92, 95, delete("a", version(3, "a4")), Outcome::Deleted),
            op(96, 97, update("a", "a5", version(3, "a4")), refused(404)),
            op(98, 99, get("a"), Outcome::Got(None)),
        ];
        assert_eq!(verdict(&ops), Violations::new());
    }

    #[test]
    fn planted_violations_are_caught() {
        let start = op(0, 5, create("a", "a1"), Outcome::Written(1));
        let second = op(6, 9, update("a", "a2", version(1, "a1")), Outcome::Written(2));
        let with = |more: &[Op]| verdict(&[&[start.clone(), second.clone()], more].concat());
        caught(&with(&[op(10, 12, get("a"), got(1, "a1"))]), "no order explains");
        caught(&with(&[op(10, 12, get("a"), Outcome::Got(None))]), "no order explains");
        let lost_update = op(7, 12, update("a", "a3", version(1, "a1")), Outcome::Written(3));
        caught(&with(&[lost_update]), "no order explains");
        let twice = [
            op(10, 12, get("a"), got(2, "a2")),
            op(7, 20, update("a", "a3", version(2, "a2")), Outcome::Written(3)),
            op(21, 22, get("a"), got(3, "a3")),
            op(23, 24, get("a"), got(2, "a2")),
        ];
        caught(&with(&twice), "no order explains");
        caught(&with(&[op(10, 12, create("a", "x"), Outcome::Written(3))]), "no order explains");
        caught(&with(&[op(10, 12, update("a", "a3", version(2, "a2")), refused(409))]), "no order explains");
        let undead =
            [op(10, 12, update("a", "a3", version(2, "a2")), refused(409)), op(13, 14, get("a"), got(3, "a3"))];
        caught(&with(&undead), "no order explains");
    }

    /// A register that really is one: each call takes effect at a moment between its beginning and its end.
    fn real_run(moments: &[(u64, u64, u8)]) -> Vec<Op> {
        let mut order: Vec<usize> = (0..moments.len()).collect();
        order.sort_by_key(|index| (moments[*index].0, *index));
        let mut value: Option<String> = None;
        let mut ops = vec![None; moments.len()];
        for index in order {
            let (at, width, what) = moments[index];
            let current = value.clone().map(|value| version(0, &value));
            let new = format!("v{index}");
            let (call, outcome) = match (what % 4, current) {
                (0, current) => (get("a"), Outcome::Got(current)),
                (1, None) => (create("a", &new), Outcome::Written(0)),
                (1, Some(_)) => (create("a", &new), refused(409)),
                (2, Some(on)) => (update("a", &new, on), Outcome::Written(0)),
                (_, None) => (update("a", &new, version(0, "old")), refused(404)),
                (_, Some(_)) => (update("a", &new, version(0, "old")), refused(409)),
            };
            if matches!(outcome, Outcome::Written(_)) {
                value = Some(new);
            }
            ops[index] = Some(op((at * 10).saturating_sub(width), at * 10 + width, call, outcome));
        }
        ops.into_iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn what_a_register_does_passes(moments in proptest::collection::vec((0_u64..60, 0_u64..40, any::<u8>()), 1..40)) {
            prop_assert_eq!(verdict(&real_run(&moments)), Violations::new());
        }
    }
}
