use super::*;
use crate::checkers::support::{caught, ms};

const LATE: Duration = Duration::from_millis(50);
const TTL: u64 = 100;

fn call(invoked: u64, lease: i64, ask: LeaseAsk, answer: LeaseAnswer) -> LeaseCall {
    let (invoked, returned) = (ms(invoked), ms(invoked + 5));
    LeaseCall { process: "p".into(), replica: 1, invoked, returned, lease, ttl: ms(TTL), ask, answer }
}

fn put(revision: u64, key: &str, lease: i64) -> Keyed {
    Keyed { revision, key: key.into(), value: Some(key.into()), lease }
}

fn gone(revision: u64, key: &str) -> Keyed {
    Keyed { revision, key: key.into(), value: None, lease: 0 }
}

fn attach(key: &str) -> LeaseAsk {
    LeaseAsk::Attach(key.into())
}

/// One lease that is kept alive for a while, and one that is revoked.
fn good() -> TtlLog {
    use LeaseAnswer::{Alive, AliveWith, Attached, Ended};
    let told = vec![put(11, "a", 1), put(12, "b", 1), put(13, "c", 2), gone(14, "c"), gone(15, "a"), gone(15, "b")];
    let calls = vec![
        call(0, 1, LeaseAsk::Grant, Alive),
        call(10, 1, attach("a"), Attached(11)),
        call(20, 1, attach("b"), Attached(12)),
        call(60, 1, LeaseAsk::KeepAlive, Alive),
        call(120, 1, LeaseAsk::TimeToLive, AliveWith(vec!["a".into(), "b".into()])),
        call(140, 1, LeaseAsk::KeepAlive, Alive),
        call(260, 1, LeaseAsk::TimeToLive, Ended),
        call(0, 2, LeaseAsk::Grant, Alive),
        call(30, 2, attach("c"), Attached(13)),
        call(40, 2, LeaseAsk::Revoke, Ended),
        call(50, 2, LeaseAsk::Look("c".into()), Ended),
    ];
    let at = [(12, 11), (22, 12), (32, 13), (44, 14), (250, 15), (250, 15)];
    let seen = told.iter().zip(at).map(|(keyed, (at, _))| (ms(at), keyed.clone())).collect();
    TtlLog { calls, seen: vec![seen], told: vec![(1, told.clone()), (2, told)], over: ms(900), left: Vec::new() }
}

fn planted(change: impl FnOnce(&mut TtlLog)) -> Violations {
    struck(change, &[])
}

fn struck(change: impl FnOnce(&mut TtlLog), faults: &[(Duration, Duration)]) -> Violations {
    let mut log = good();
    change(&mut log);
    check(&log, faults, LATE)
}

fn everywhere(log: &mut TtlLog, change: fn(&mut Vec<Keyed>)) {
    log.told.iter_mut().for_each(|(_, told)| change(told));
    log.seen.clear();
}

#[test]
fn good_runs_pass() {
    assert_eq!(planted(|_| {}), Violations::new());
    let unanswered = planted(|log| log.calls[5].answer = LeaseAnswer::Unknown("cut".into()));
    assert_eq!(unanswered, Violations::new(), "a renewal without an answer may count or not");
}

#[test]
fn what_ends_early_is_caught() {
    let at = |ms_at: u64| {
        planted(|log| {
            log.seen[0].iter_mut().filter(|(_, keyed)| keyed.revision == 15).for_each(|one| one.0 = ms(ms_at))
        })
    };
    caught(&at(239), "lease 1: it ended 1ms before its 100ms were over at 0.239 s: a went at 15");
    assert_eq!(at(240), Violations::new());
    caught(&planted(|log| log.calls[4].answer = LeaseAnswer::Ended), "TimeToLive said so");
    caught(&planted(|log| log.calls[9].answer = LeaseAnswer::Refused("no".into())), "lease 2: it ended");
}

#[test]
fn what_lives_after_its_end_is_caught() {
    let alive = |at: usize, answer: LeaseAnswer| planted(|log| log.calls[at].answer = answer);
    caught(
        &alive(6, LeaseAnswer::AliveWith(vec!["a".into(), "b".into()])),
        "TimeToLive through 1 at 0.260 s found it alive",
    );
    caught(&alive(10, LeaseAnswer::Alive), "lease 2: Look(\"c\") through 1 at 0.050 s found it alive");
    caught(&alive(4, LeaseAnswer::AliveWith(vec!["a".into()])), "without b");
}

#[test]
fn what_ends_late_is_caught_unless_a_fault_excuses_it() {
    let late = |log: &mut TtlLog| {
        log.calls.remove(6);
        log.seen[0].iter_mut().filter(|(_, keyed)| keyed.revision == 15).for_each(|one| one.0 = ms(420));
    };
    caught(&planted(late), "lease 1: it was gone at 0.420 s, due by 0.395 s");
    assert_eq!(struck(late, &[(ms(200), ms(250))]), Violations::new());
    let never = |log: &mut TtlLog| {
        log.calls.remove(6);
        everywhere(log, |told| told.retain(|keyed| keyed.revision != 15));
    };
    caught(&planted(never), "lease 1: nobody saw it go, due by 0.395 s");
    caught(&planted(never), "lease 1: it is over, and none of its keys");
    caught(&planted(|log| log.left.push(7)), "lease 7: it is there at 0.900 s");
}

#[test]
fn keys_that_go_apart_are_caught() {
    caught(
        &planted(|log| everywhere(log, |told| told[5].revision = 16)),
        "lease 1: b went at [16], another of its keys at 15",
    );
    caught(&planted(|log| everywhere(log, |told| drop(told.pop()))), "lease 1: b outlives it, which ended at 15");
    let late = planted(|log| everywhere(log, |told| told.push(put(16, "b", 1))));
    caught(&late, "b was acknowledged at 12, it was put at Some(16)");
    let again = planted(|log| {
        everywhere(log, |told| told.push(put(16, "d", 1)));
        log.calls.push(call(30, 1, attach("d"), LeaseAnswer::Unknown("cut".into())));
    });
    caught(&again, "d was put at 16, after its end at 15");
}

#[test]
fn lost_strange_and_differing_keys_are_caught() {
    caught(
        &planted(|log| everywhere(log, |told| drop(told.remove(1)))),
        "b was acknowledged at 12, it was put at None",
    );
    caught(&planted(|log| log.calls[2].answer = LeaseAnswer::Ended), "b was refused (Ended) and put at 12");
    caught(
        &planted(|log| everywhere(log, |told| told.insert(3, put(14, "z", 3)))),
        "lease 3: of {\"z\": 14} some are nobody's",
    );
    caught(&planted(|log| drop(log.told[1].1.pop())), "replica 2 and replica 1: one tells");
    caught(&planted(|log| drop(log.seen[0].remove(2))), "watcher 0: one tells");
}
