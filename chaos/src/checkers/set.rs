//! Acknowledged writes survive, nothing appears that nobody wrote, definite refusals have no effect.
//!
//! For workloads that create objects under unique names and never change them.

use std::collections::BTreeMap;

use super::Violations;
use crate::history::{Call, Op, Outcome, Version};

/// `ops`: creations only. `finals`: what is there in the end, by name.
pub fn check(ops: &[Op], finals: &BTreeMap<&str, Version>) -> Violations {
    let mut violations = Violations::new();
    let creations = ops.iter().filter(|op| matches!(op.call, Call::Create { .. }));
    let attempted: BTreeMap<&str, &Op> = creations.filter_map(|op| Some((op.call.name()?, op))).collect();
    for (name, op) in &attempted {
        match (&op.outcome, finals.get(name).map(|version| version.revision)) {
            (Outcome::Written(revision), None) => {
                violations.push(format!("lost: {name} was acknowledged at revision {revision}"));
            }
            (Outcome::Written(revision), Some(kept)) if *revision != kept => {
                violations.push(format!("{name} was acknowledged at {revision} and is kept at {kept}"));
            }
            (Outcome::Refused { code, why }, Some(kept)) => {
                violations.push(format!("{name} was refused ({code} {why}) and is there at {kept}"));
            }
            _ => {}
        }
    }
    for name in finals.keys().filter(|name| !attempted.contains_key(*name)) {
        violations.push(format!("phantom: nobody wrote {name}"));
    }
    violations.extend(real_time(attempted.into_values()));
    violations
}

/// A write that returned before another began has the smaller revision.
fn real_time<'a>(ops: impl Iterator<Item = &'a Op>) -> Violations {
    let mut acknowledged: Vec<(&Op, u64)> = ops
        .filter_map(|op| match op.outcome {
            Outcome::Written(revision) => Some((op, revision)),
            _ => None,
        })
        .collect();
    acknowledged.sort_by_key(|(_, revision)| *revision);
    // Going up by revision, nothing may return before something with a smaller revision was invoked.
    let mut violations = Violations::new();
    let mut latest: Option<&Op> = None;
    for (op, revision) in acknowledged {
        if let Some(before) = latest
            && op.returned < before.invoked
        {
            let name = |op: &Op| op.call.name().unwrap_or("").to_owned();
            violations.push(format!("{} (revision {revision}) returned before {} began", name(op), name(before)));
        }
        if latest.is_none_or(|before| op.invoked > before.invoked) {
            latest = Some(op);
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::*;

    fn write(name: &str, invoked: u64, returned: u64, outcome: Outcome) -> Op {
        op(invoked, returned, create(name, name), outcome)
    }

    fn run(ops: &[Op], finals: &[(&str, u64)]) -> Violations {
        check(ops, &finals.iter().map(|(name, revision)| (*name, version(*revision, name))).collect())
    }

    #[test]
    fn good_runs_pass() {
        let ops = [
            write("a", 0, 5, Outcome::Written(1)),
            write("b", 1, 4, Outcome::Written(2)),
            write("c", 6, 9, unknown()),
            write("d", 6, 9, unknown()),
            write("e", 6, 9, refused(409)),
        ];
        assert_eq!(run(&ops, &[("a", 1), ("b", 2), ("d", 3)]), Violations::new());
    }

    #[test]
    fn planted_violations_are_caught() {
        let ok = write("a", 0, 5, Outcome::Written(1));
        caught(&run(std::slice::from_ref(&ok), &[]), "lost");
        caught(&run(std::slice::from_ref(&ok), &[("a", 2)]), "is kept at 2");
        caught(&run(&[], &[("x", 1)]), "phantom");
        caught(&run(&[write("r", 0, 1, refused(409))], &[("r", 4)]), "was refused");
        let back = [ok, write("b", 6, 7, Outcome::Written(3)), write("c", 8, 9, Outcome::Written(2))];
        caught(&run(&back, &[("a", 1), ("b", 3), ("c", 2)]), "returned before");
    }
}
