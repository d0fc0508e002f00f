//! Acknowledged writes survive, nothing appears that nobody wrote, definite refusals have no effect.
//!
//! For workloads that create objects under unique names and never change them.

use std::collections::BTreeMap;

use super::Violations;
use crate::history::{Final, Outcome, Write};

pub fn check(writes: &[Write], finals: &[Final]) -> Violations {
    let mut violations = Violations::new();
    let found: BTreeMap<&str, u64> = finals.iter().map(|one| (one.name.as_str(), one.revision)).collect();
    let attempted: BTreeMap<&str, &Write> = writes.iter().map(|write| (write.name.as_str(), write)).collect();
    for write in writes {
        match (&write.outcome, found.get(write.name.as_str())) {
            (Outcome::Acknowledged(revision), None) => {
                violations.push(format!("lost: {} was acknowledged at revision {revision}", write.name));
            }
            (Outcome::Acknowledged(revision), Some(kept)) if revision != kept => {
                violations.push(format!("{} was acknowledged at {revision} and is kept at {kept}", write.name));
            }
            (Outcome::Refused(why), Some(kept)) => {
                violations.push(format!("{} was refused ({why}) and is there at {kept}", write.name));
            }
            _ => {}
        }
    }
    for one in finals {
        if !attempted.contains_key(one.name.as_str()) {
            violations.push(format!("phantom: nobody wrote {}", one.name));
        }
    }
    violations.extend(real_time(writes));
    violations
}

/// A write that returned before another began has the smaller revision.
fn real_time(writes: &[Write]) -> Violations {
    let mut acknowledged: Vec<(&Write, u64)> = writes
        .iter()
        .filter_map(|write| match write.outcome {
            Outcome::Acknowledged(revision) => Some((write, revision)),
            _ => None,
        })
        .collect();
    acknowledged.sort_by_key(|(_, revision)| *revision);
    // Going up by revision, nothing may return before something with a smaller revision was invoked.
    let mut violations = Violations::new();
    let mut latest: Option<&Write> = None;
    for (write, revision) in acknowledged {
        if let Some(before) = latest
            && write.returned < before.invoked
        {
            violations.push(format!("{} (revision {revision}) returned before {} began", write.name, before.name));
        }
        if latest.is_none_or(|before| write.invoked > before.invoked) {
            latest = Some(write);
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(name: &str, invoked: u64, returned: u64, outcome: Outcome) -> Write {
        let (invoked, returned) = (Duration::from_millis(invoked), Duration::from_millis(returned));
        Write { name: name.into(), invoked, returned, outcome }
    }

    fn kept(name: &str, revision: u64) -> Final {
        Final { name: name.into(), revision }
    }

    #[test]
    fn good_runs_pass() {
        let writes = [
            write("a", 0, 5, Outcome::Acknowledged(1)),
            write("b", 1, 4, Outcome::Acknowledged(2)),
            write("c", 6, 9, Outcome::Unknown("cut".into())),
            write("d", 6, 9, Outcome::Unknown("cut".into())),
            write("e", 6, 9, Outcome::Refused("409".into())),
        ];
        assert_eq!(check(&writes, &[kept("a", 1), kept("b", 2), kept("d", 3)]), Violations::new());
    }

    #[test]
    fn planted_violations_are_caught() {
        let ok = write("a", 0, 5, Outcome::Acknowledged(1));
        let lost = check(std::slice::from_ref(&ok), &[]);
        assert!(lost[0].starts_with("lost"), "{lost:?}");
        let moved = check(std::slice::from_ref(&ok), &[kept("a", 2)]);
        assert_eq!(moved.len(), 1);
        let phantom = check(&[], &[kept("x", 1)]);
        assert!(phantom[0].starts_with("phantom"));
        let undead = check(&[write("r", 0, 1, Outcome::Refused("409".into()))], &[kept("r", 4)]);
        assert_eq!(undead.len(), 1);
        let back = [ok, write("b", 6, 7, Outcome::Acknowledged(3)), write("c", 8, 9, Outcome::Acknowledged(2))];
        let back = check(&back, &[kept("a", 1), kept("b", 3), kept("c", 2)]);
        assert_eq!(back.len(), 1, "{back:?}");
    }
}
