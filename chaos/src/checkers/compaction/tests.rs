use super::*;
use crate::checkers::support::*;
use crate::history::{Compaction, Connection, End, Kind, Message, Selector, Start, WatchLog};

const PREFIX: &str = "/s/";

fn keyed(revision: u64, name: &str, value: Option<&str>) -> Keyed {
    Keyed { revision, key: format!("{PREFIX}{name}"), value: value.map(str::to_owned), lease: 0 }
}

fn told() -> Vec<Keyed> {
    vec![
        keyed(11, "a", Some("1")),
        keyed(12, "b", Some("2")),
        keyed(13, "a", None),
        keyed(15, "a", Some("3")),
        keyed(15, "b", Some("3")),
        keyed(16, "b", Some("4")),
    ]
}

fn resume(start: u64, from: usize, ending: Ending) -> Resume {
    let all = told();
    let messages = if from < 3 { vec![all[from..3].to_vec(), all[3..].to_vec()] } else { vec![all[from..].to_vec()] };
    let messages = if matches!(ending, Ending::Compacted(_)) { Vec::new() } else { messages };
    let (invoked, returned, prefix) = (ms(60), ms(70), PREFIX.to_owned());
    Resume { replica: 1, prefix, start, upto: 16, invoked, returned, messages, ending }
}

fn read(revision: u64, state: PastState) -> PastRead {
    PastRead { replica: 1, prefix: PREFIX.to_owned(), revision, invoked: ms(60), returned: ms(70), state }
}

fn found(pairs: &[(&str, &str)]) -> PastState {
    PastState::Found(pairs.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect())
}

fn compaction(revision: u64, invoked: u64, outcome: CompactionOutcome) -> Compaction {
    Compaction { replica: 1, revision, invoked: ms(invoked), returned: ms(invoked + 5), outcome }
}

fn gone() -> Outcome {
    Outcome::Refused { code: GONE, why: "no".into() }
}

/// Compacted at 13 before all else, and at 15 perhaps.
fn good() -> CompactionLog {
    let truth = truth(&[(Kind::Added, 11, "a", "a1"), (Kind::Modified, 14, "a", "a4"), (Kind::Added, 17, "b", "b7")]);
    let events: Vec<Message> = truth.events.iter().cloned().map(Message::Event).collect();
    let connection = |start, messages, end| Connection {
        replica: 1,
        start: Start::After(start),
        opened: ms(60),
        closed: ms(70),
        messages,
        end,
    };
    let expired = End::Error { code: GONE, why: "too old".into() };
    let connections = vec![
        connection(10, events.clone(), End::Cancelled),
        connection(12, Vec::new(), expired),
        connection(15, events[2..].to_vec(), End::Cancelled),
    ];
    CompactionLog {
        compactions: vec![
            compaction(13, 50, CompactionOutcome::Done),
            compaction(15, 55, CompactionOutcome::Unknown("cut".into())),
        ],
        truth,
        ops: vec![
            op(0, 1, create("a", "a1"), Outcome::Written(11)),
            op(2, 3, update("a", "a4", version(11, "a1")), Outcome::Written(14)),
            op(4, 5, create("b", "b7"), Outcome::Written(17)),
            op(60, 65, list(Age::Exact(14)), gone()),
            op(
                60,
                65,
                list(Age::Exact(16)),
                Outcome::Listed { revision: 16, objects: vec![("a".into(), version(14, "a4"))] },
            ),
        ],
        watch: Some(WatchLog {
            watcher: "w".into(),
            selector: Selector::Round,
            resumes: false,
            connections,
            caught_up: true,
        }),
        told: told(),
        resumes: vec![
            resume(12, 1, Ending::Compacted(13)),
            resume(13, 2, Ending::Whole),
            resume(14, 3, Ending::Compacted(15)),
            resume(15, 3, Ending::Whole),
        ],
        reads: vec![
            read(12, PastState::Compacted),
            read(13, found(&[("b", "2")])),
            read(15, found(&[("a", "3"), ("b", "3")])),
        ],
    }
}

fn planted(change: impl FnOnce(&mut CompactionLog, &mut Vec<Op>)) -> Violations {
    let (mut log, mut ops) =
        (good(), vec![op(0, 70, list(Age::Latest), Outcome::Listed { revision: 20, objects: vec![] })]);
    change(&mut log, &mut ops);
    check(&log, &ops, 18)
}

#[test]
fn good_runs_pass() {
    assert_eq!(planted(|_, _| {}), Violations::new());
    let broken = planted(|log, _| log.resumes.push(resume(12, 1, Ending::Broken("cut".into()))));
    assert_eq!(broken, Violations::new(), "what it was told until then was right");
}

#[test]
fn what_is_not_told_is_caught() {
    caught(
        &planted(|log, _| log.resumes[0] = resume(12, 2, Ending::Whole)),
        "from 12 through 1 at 0.060 s was told Some(Keyed { revision: 13",
    );
    caught(&planted(|log, _| log.resumes[0] = resume(12, 1, Ending::Whole)), "was not told that it is compacted at 13");
    caught(&planted(|log, _| log.resumes[0].ending = Ending::Compacted(11)), "compacted at 11, before that");
    caught(&planted(|log, _| log.reads[0].state = found(&[("a", "1"), ("b", "2")])), "was answered, though");
}

#[test]
fn what_is_told_for_no_reason_is_caught() {
    caught(
        &planted(|log, _| log.resumes[3] = resume(15, 3, Ending::Compacted(16))),
        "compacted at 16, which nobody asked for",
    );
    let refuse = CompactionOutcome::Refused("no".into());
    caught(&planted(|log, _| log.compactions[1].outcome = refuse), "compacted at 15, which nobody asked for");
    caught(&planted(|log, _| log.compactions[1].invoked = ms(75)), "compacted at 15, which nobody asked for");
    caught(&planted(|log, _| log.reads[2].state = PastState::Compacted), "is said to be compacted");
    caught(
        &planted(|log, _| log.ops[4].outcome = gone()),
        "Exact(16) } through 1 at 0.060 s was refused for no reason",
    );
    caught(&planted(|_, ops| ops[0].outcome = gone()), "Latest } through 1 at 0.000 s was refused for no reason");
    caught(&planted(|_, ops| ops.push(op(60, 65, get("a"), gone()))), "Get { name: \"a\" } through 1");
    let expired = |log: &mut CompactionLog, at: usize| {
        let watch = log.watch.as_mut().expect("there is one");
        (watch.connections[at].end, watch.connections[at].messages) =
            (End::Error { code: GONE, why: "too old".into() }, Vec::new());
    };
    assert_eq!(planted(|log, _| expired(log, 0)), Violations::new());
    caught(&planted(|log, _| expired(log, 2)), "ended with 410");
}

#[test]
fn what_is_lost_behind_a_compaction_is_caught() {
    let change = |change: fn(&mut Vec<Vec<Keyed>>)| planted(|log, _| change(&mut log.resumes[1].messages));
    caught(
        &change(|messages| drop(messages[0].remove(0))),
        "from 13 through 1 at 0.060 s was told Some(Keyed { revision: 15",
    );
    caught(&change(|messages| drop(messages[1].pop())), "was told None where Some(Keyed { revision: 16");
    caught(&change(|messages| messages.swap(0, 1)), "was told Some(Keyed { revision: 15");
    caught(&change(|messages| messages.insert(0, messages[0].clone())), "where Some(Keyed { revision: 15");
    let torn = change(|messages| {
        let rest = messages[1].split_off(1);
        messages.push(rest);
    });
    caught(&torn, "was told in two messages what happened at 15");
    caught(&planted(|log, _| log.reads[1].state = found(&[("a", "1"), ("b", "2")])), "was {\"/s/b\": \"2\"}, not");
    let lost = planted(|log, _| {
        let watch = log.watch.as_mut().expect("there is one");
        watch.connections[0].messages.remove(1);
    });
    caught(&lost, "missed MODIFIED of a at 14");
}

#[test]
fn who_looks_at_nothing_is_void() {
    caught(
        &planted(|log, _| log.compactions[0].outcome = CompactionOutcome::Unknown("cut".into())),
        "void: 0 compactions",
    );
    caught(&planted(|log, _| log.resumes.retain(|resume| resume.ending == Ending::Whole)), "0 watches that were told");
}
