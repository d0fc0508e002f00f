//! Strict serializability in the order of revisions, in O(n log n): the server says in which order it did
//! things, so that order only has to be checked, not found.
//!
//! Every acknowledged write happened once, where it was said to have happened; what was refused did not
//! happen. What was over before something began comes before it. A linearizable read shows the state of some
//! revision that fits between what was over before it and what had begun when it ended. The others show what
//! they were asked for.
//!
//! A server that lies about the order fools this checker; [`super::linearizable`] does not look at revisions.

mod book;
mod effects;
mod order;
mod states;

use super::Violations;
use crate::history::Op;
use crate::truth::Truth;
use book::Book;

pub fn check(ops: &[Op], truth: &Truth) -> Violations {
    let book = Book::new(ops, truth);
    let mut violations = effects::check(ops, truth, &book);
    violations.extend(order::check(ops, truth, &book));
    violations.extend(states::check(ops, truth));
    violations
}

/// `p3 Get { name: "a" } through 2 at 1.234 s`
fn describe(op: &Op) -> String {
    format!("{} {:?} through {} at {:.3} s", op.process, op.call, op.replica, op.invoked.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::*;
    use crate::history::{Age, Kind, Outcome};
    use Kind::{Added, Deleted, Modified};

    fn base() -> (Vec<Op>, Truth) {
        let ops = vec![
            op(0, 5, create("a", "a1"), Outcome::Written(11)),
            op(6, 9, update("a", "a2", version(11, "a1")), Outcome::Written(12)),
            op(6, 20, update("a", "a3", version(11, "a1")), refused(409)),
            op(10, 12, get("a"), got(12, "a2")),
            op(10, 30, create("b", "b1"), unknown()),
            op(40, 45, list(Age::Latest), Outcome::Listed { revision: 14, objects: both() }),
            op(50, 55, delete("b", version(13, "b1")), Outcome::Deleted),
            op(56, 57, get("b"), Outcome::Got(None)),
        ];
        let truth = truth(&[
            (Added, 11, "a", "a1"),
            (Modified, 12, "a", "a2"),
            (Added, 13, "b", "b1"),
            (Deleted, 15, "b", "b1"),
        ]);
        (ops, truth)
    }

    fn both() -> Vec<(String, crate::history::Version)> {
        vec![("a".into(), version(12, "a2")), ("b".into(), version(13, "b1"))]
    }

    /// The violations after a change to the good run.
    fn planted(change: impl FnOnce(&mut Vec<Op>, &mut Truth)) -> Violations {
        let (mut ops, mut truth) = base();
        change(&mut ops, &mut truth);
        check(&ops, &truth)
    }

    #[test]
    fn good_runs_pass() {
        assert_eq!(planted(|_, _| {}), Violations::new());
        let rival = planted(|ops, _| ops.push(op(60, 61, delete("b", version(13, "b1")), unknown())));
        assert_eq!(rival, Violations::new(), "another had deleted it");
        let by_age = planted(|ops, _| {
            let listed = |revision, objects| Outcome::Listed { revision, objects };
            ops.push(op(60, 61, list(Age::Any), listed(14, both())));
            ops.push(op(62, 63, list(Age::Exact(11)), listed(11, vec![("a".into(), version(11, "a1"))])));
            ops.push(op(64, 65, list(Age::NotOlderThan(12)), listed(15, both()[..1].to_vec())));
        });
        assert_eq!(by_age, Violations::new());
        let concurrent = planted(|ops, _| ops.push(op(4, 7, get("a"), Outcome::Got(None))));
        assert_eq!(concurrent, Violations::new(), "while it was being created it may not be there yet");
    }

    #[test]
    fn lost_and_doubled_writes_are_caught() {
        caught(&planted(|_, truth| drop(truth.events.remove(1))), "lost");
        caught(&planted(|ops, _| ops[1].outcome = Outcome::Written(13)), "acknowledged at 13, it happened at 12");
        let twice = planted(|_, truth| truth.events.push(event(Modified, 16, "a", "a2")));
        caught(&twice, "happened 2 times");
        let undead = planted(|_, truth| truth.events.push(event(Modified, 16, "a", "a3")));
        caught(&undead, "was refused (409 no) and happened at 16");
        caught(&planted(|_, truth| truth.events.push(event(Added, 16, "x", "x1"))), "phantom");
    }

    #[test]
    fn lost_updates_are_caught() {
        // Both clients read a1, both were acknowledged.
        let lost = planted(|ops, truth| {
            ops[2].outcome = Outcome::Written(14);
            truth.events.insert(3, event(Modified, 14, "a", "a3"));
        });
        caught(&lost, "it was to replace revision 11 and replaced 12");
        let deleted = planted(|ops, _| ops[6].call = delete("b", version(12, "b0")));
        caught(&deleted, "lost");
        caught(&deleted, "nobody deleted");
    }

    #[test]
    fn stale_reads_are_caught() {
        caught(&planted(|ops, _| ops[3].outcome = got(11, "a1")), "stale");
        caught(&planted(|ops, _| ops.push(op(70, 71, get("a"), Outcome::Got(None)))), "stale");
        caught(&planted(|ops, _| ops[7].outcome = got(13, "b1")), "stale");
        let list_before = planted(|ops, _| {
            ops[5].outcome = Outcome::Listed { revision: 11, objects: vec![("a".into(), version(11, "a1"))] };
        });
        caught(&list_before, "stale");
        // Two readers of concurrent writes that agree with real time one by one, not together.
        let back = planted(|ops, _| {
            ops[1].returned = ms(35);
            ops[3] = op(20, 22, get("a"), got(12, "a2"));
            ops.push(op(24, 26, get("a"), got(11, "a1")));
        });
        caught(&back, "stale");
    }

    #[test]
    fn real_time_and_the_future_are_caught() {
        let inverted = planted(|ops, truth| {
            ops.push(op(70, 71, create("c", "c1"), Outcome::Written(14)));
            truth.events.insert(3, event(Added, 14, "c", "c1"));
        });
        caught(&inverted, "happened at 14, but 15 was over before it began");
        let alone = planted(|ops, _| ops[6] = op(58, 59, delete("b", version(13, "b1")), unknown()));
        caught(&alone, "shows revision 15, of which a part began later");
        let early = planted(|ops, _| ops.push(op(1, 2, get("a"), got(12, "a2"))));
        caught(&early, "from the future");
        caught(&planted(|ops, _| ops[3].outcome = got(12, "zz")), "never was");
    }

    #[test]
    fn wrong_lists_are_caught() {
        let listed = |age, revision, objects: &[(String, crate::history::Version)]| {
            let objects = objects.to_vec();
            planted(|ops, _| ops.push(op(60, 61, list(age), Outcome::Listed { revision, objects })))
        };
        let a = &both()[..1];
        caught(&listed(Age::Latest, 15, &both()), "is not the state at 15");
        caught(&listed(Age::Exact(12), 13, &both()), "asked for exactly 12");
        caught(&listed(Age::NotOlderThan(15), 14, &both()), "asked for 15 or later");
        caught(&listed(Age::Any, 12, a), "replica 1 had shown 14 before");
        caught(&listed(Age::Any, 99, a), "from the future");
        let twice = [both(), both()].concat();
        caught(&listed(Age::Latest, 14, &twice), "an object is there twice");
        let torn = planted(|ops, _| ops.push(op(60, 61, list(Age::Latest), Outcome::Torn { first: 15, then: 16 })));
        caught(&torn, "its first page is at 15, another at 16");
    }
}
