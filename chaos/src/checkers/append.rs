//! Lists that only grow: every list ever seen is a beginning of the last one, and what was acknowledged is in
//! every list that was read later. Looks at no revision.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violations;
use crate::history::{Call, Op, Outcome, Version};

/// Between two elements of a list.
pub const SEPARATOR: char = ',';

/// A list as it was at some time.
struct Seen<'a> {
    op: &'a Op,
    elements: Vec<&'a str>,
}

/// `finals`: the lists in the end, by name.
pub fn check(ops: &[Op], finals: &BTreeMap<&str, Version>) -> Violations {
    let mut violations = Violations::new();
    for (name, version) in finals {
        let last = elements(&version.value);
        let mut once = last.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() != last.len() {
            violations.push(format!("{name}: an element is there twice: {last:?}"));
        }
        violations.extend(one(name, &last, ops));
    }
    violations
}

fn elements(value: &str) -> Vec<&str> {
    value.split(SEPARATOR).filter(|element| !element.is_empty()).collect()
}

fn one(name: &str, last: &[&str], ops: &[Op]) -> Violations {
    let mut seen: Vec<Seen<'_>> = ops.iter().filter(|op| op.call.name() == Some(name)).filter_map(seen).collect();
    let mut violations = Violations::new();
    for one in &seen {
        if !last.starts_with(&one.elements) {
            violations.push(format!("{name}: {:?} was seen, which is no beginning of {last:?}", one.elements));
        }
    }
    seen.sort_by_key(|one| one.op.invoked);
    violations.extend(shrunk(name, &seen));
    violations
}

/// What a client knows that the list was: it read it, or its append was acknowledged.
fn seen(op: &Op) -> Option<Seen<'_>> {
    let value = match (&op.call, &op.outcome) {
        (Call::Get { .. }, Outcome::Got(Some(version))) => &version.value,
        (Call::Update { value, .. } | Call::Create { value, .. }, Outcome::Written(_)) => value,
        _ => return None,
    };
    Some(Seen { op, elements: elements(value) })
}

/// A list seen later is not shorter than one that was seen before it began.
fn shrunk(name: &str, by_beginning: &[Seen<'_>]) -> Violations {
    let mut ends: Vec<(Duration, usize)> =
        by_beginning.iter().map(|one| (one.op.returned, one.elements.len())).collect();
    ends.sort_unstable();
    let (mut over, mut length) = (0, 0);
    let mut violations = Violations::new();
    for one in by_beginning {
        while over < ends.len() && ends[over].0 < one.op.invoked {
            length = length.max(ends[over].1);
            over += 1;
        }
        if one.elements.len() < length {
            let seconds = one.op.invoked.as_secs_f64();
            violations.push(format!("{name}: {length} elements were there, {} at {seconds:.3} s", one.elements.len()));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::*;

    fn run(ops: &[Op], last: &str) -> Violations {
        check(ops, &BTreeMap::from([("l", version(9, last))]))
    }

    fn append(invoked: u64, returned: u64, from: &str, to: &str, outcome: Outcome) -> Op {
        op(invoked, returned, update("l", to, version(1, from)), outcome)
    }

    #[test]
    fn good_runs_pass() {
        let ops = [
            op(0, 1, create("l", "a"), Outcome::Written(1)),
            append(2, 4, "a", "a,b", Outcome::Written(2)),
            append(2, 5, "a", "a,c", refused(409)),
            append(6, 7, "a,b", "a,b,d", unknown()),
            op(3, 8, get("l"), got(1, "a")),
            op(8, 9, get("l"), got(2, "a,b")),
        ];
        assert_eq!(run(&ops, "a,b,d"), Violations::new());
        assert_eq!(run(&ops, "a,b"), Violations::new());
    }

    #[test]
    fn planted_violations_are_caught() {
        let b = append(2, 4, "a", "a,b", Outcome::Written(2));
        caught(&run(std::slice::from_ref(&b), "a"), "no beginning");
        caught(&run(std::slice::from_ref(&b), "b,a"), "no beginning");
        caught(&run(std::slice::from_ref(&b), "a,b,b"), "twice");
        caught(&run(&[b.clone(), op(5, 6, get("l"), got(1, "a"))], "a,b"), "2 elements were there, 1");
        caught(&run(&[b, append(5, 6, "a", "a,c", Outcome::Written(3))], "a,c"), "no beginning");
    }
}
