use std::collections::BTreeMap;

use super::*;
use crate::checkers::support::{caught, ms};
use crate::history::Version;

fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn txn(invoked: u64, returned: u64, on: &[(&str, u64)], writes: &[(&str, &str)], outcome: TxnOutcome) -> Txn {
    let writes = writes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (invoked, returned) = (ms(invoked), ms(returned));
    Txn { process: "txn0".into(), replica: 1, invoked, returned, on: map(on), writes, outcome }
}

fn done(succeeded: bool, revision: u64, read: &[(&str, Option<(u64, &str)>)]) -> TxnOutcome {
    let version = |(revision, value): (u64, &str)| Version { revision, value: value.into() };
    let read = read.iter().map(|(key, found)| ((*key).to_owned(), found.map(version))).collect();
    TxnOutcome::Done { succeeded, revision, read }
}

fn unknown() -> TxnOutcome {
    TxnOutcome::Unknown("cut".into())
}

fn stored(events: &[(u64, &str, &str)]) -> Vec<Stored> {
    let one = |(revision, key, value): &(u64, &str, &str)| Stored {
        revision: *revision,
        key: (*key).into(),
        value: (*value).into(),
    };
    events.iter().map(one).collect()
}

/// Three writes, one of them of two lists and one of an unknown end, a read, and one that compared unequal.
fn base() -> TxnLog {
    let told = stored(&[(11, "a", "1"), (11, "b", "1"), (13, "a", "1,2"), (14, "b", "1,3"), (14, "c", "3")]);
    let txns = vec![
        txn(0, 5, &[("a", 0), ("b", 0)], &[("a", "1"), ("b", "1")], done(true, 11, &[("c", None)])),
        txn(6, 9, &[("a", 11)], &[("a", "1,2")], done(true, 13, &[("b", Some((11, "1"))), ("c", None)])),
        txn(6, 10, &[("a", 11)], &[("a", "1,4")], done(false, 13, &[("a", Some((13, "1,2")))])),
        txn(10, 30, &[("b", 11), ("c", 0)], &[("b", "1,3"), ("c", "3")], unknown()),
        txn(31, 32, &[], &[], done(true, 14, &[("a", Some((13, "1,2"))), ("b", Some((14, "1,3")))])),
    ];
    let messages = vec![told[..2].to_vec(), told[2..].to_vec()];
    let watch = StoreWatch { watcher: "w".into(), from: 10, messages, cancelled: Vec::new(), caught_up: true };
    TxnLog { txns, watches: vec![watch], told: vec![(1, told.clone()), (2, told)] }
}

fn planted(change: impl FnOnce(&mut TxnLog)) -> Violations {
    let mut log = base();
    change(&mut log);
    check(&log)
}

fn in_cycles(change: impl FnOnce(&mut TxnLog)) -> Violations {
    let mut log = base();
    change(&mut log);
    cycles::check(&log.txns, &log.told[0].1)
}

#[test]
fn good_runs_pass() {
    assert_eq!(planted(|_| {}), Violations::new());
    assert_eq!(in_cycles(|_| {}), Violations::new());
}

#[test]
fn lost_torn_and_doubled_transactions_are_caught() {
    let everywhere = |log: &mut TxnLog, change: fn(&mut Vec<Stored>)| {
        log.told.iter_mut().for_each(|(_, told)| change(told));
        log.watches.clear();
    };
    caught(&planted(|log| everywhere(log, |told| drop(told.remove(2)))), "acknowledged at 13, it happened as {}");
    caught(&planted(|log| everywhere(log, |told| drop(told.remove(1)))), "acknowledged at 11, it happened as");
    caught(&planted(|log| everywhere(log, |told| drop(told.pop()))), "by half, or twice");
    let strange = planted(|log| everywhere(log, |told| told.extend(stored(&[(15, "c", "3,9")]))));
    caught(&strange, "1 of 6 writes are nobody's");
    let undead = planted(|log| everywhere(log, |told| told.extend(stored(&[(15, "a", "1,4")]))));
    caught(&undead, "was not to happen and did");
}

#[test]
fn wrong_comparisons_and_reads_are_caught() {
    caught(&planted(|log| log.txns[1].on = map(&[("a", 10)])), "a was to be of 10");
    caught(&planted(|log| log.txns[2].on = map(&[("a", 13)])), "compared unequal at 13 for no reason");
    caught(&planted(|log| log.txns[4].outcome = done(true, 14, &[("a", Some((11, "1")))])), "was read");
    caught(&planted(|log| log.txns[4].outcome = done(true, 13, &[("c", Some((14, "3")))])), "was read");
    caught(&planted(|log| log.txns[0].outcome = done(true, 11, &[("c", Some((14, "3")))])), "was read");
}

#[test]
fn real_time_is_caught() {
    let stale = done(true, 11, &[("a", Some((11, "1"))), ("b", Some((11, "1")))]);
    caught(&planted(|log| log.txns[4].outcome = stale), "it is of 11, but 13 was over");
    caught(&planted(|log| log.txns[1].invoked = ms(50)), "it is of 13, but 14 was over");
}

#[test]
fn watchers_and_tellers_are_caught() {
    caught(&planted(|log| drop(log.told[1].1.remove(2))), "replica 2 and replica 1: one tells");
    caught(&planted(|log| drop(log.watches[0].messages[1].remove(0))), "w: one tells");
    caught(&planted(|log| log.watches[0].messages.swap(0, 1)), "w: one tells");
    let doubled = planted(|log| {
        let again = log.watches[0].messages[0].clone();
        log.watches[0].messages.insert(0, again);
    });
    caught(&doubled, "w: one tells");
    let torn = planted(|log| {
        let rest = log.watches[0].messages[0].split_off(1);
        log.watches[0].messages.insert(1, rest);
    });
    caught(&torn, "what happened at 11 came in two messages");
    caught(&planted(|log| log.watches[0].cancelled.push((9, "compacted".into()))), "it ended as compacted at 9");
    caught(&planted(|log| log.watches[0].caught_up = false), "did not catch up");
}

/// A server that says revisions which fit cannot hide these.
#[test]
fn lists_alone_tell_of_circles() {
    let nowhere = "in no order";
    let stale = done(true, 99, &[("a", Some((11, "1"))), ("b", Some((14, "1,3")))]);
    caught(&in_cycles(|log| log.txns[4].outcome = stale.clone()), nowhere);
    // Two that each did not see what the other wrote.
    let skewed = |log: &mut TxnLog| {
        log.txns[1].outcome = done(true, 13, &[("b", Some((11, "1")))]);
        log.txns[3] = txn(6, 9, &[("b", 11)], &[("b", "1,3"), ("c", "3")], done(true, 14, &[("a", Some((11, "1")))]));
        log.txns.truncate(4);
    };
    caught(&in_cycles(skewed), nowhere);
    let branched = in_cycles(|log| drop(log.txns[1].writes.insert("a".into(), "2".into())));
    caught(&branched, "which no later one begins with");
    // Concurrent, the same reads are fine when nobody else saw another order: the reader came between.
    assert_eq!(
        in_cycles(|log| {
            log.txns[1].returned = ms(40);
            log.txns[1].outcome = done(true, 13, &[]);
            log.txns[2].returned = ms(40);
            log.txns[2].outcome = unknown();
            log.txns[4].outcome = stale;
        }),
        Violations::new()
    );
}
