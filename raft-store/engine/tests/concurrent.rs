//! Readers, snapshots and garbage collection beside a writer that compacts close behind itself: every
//! answer is right for its revision, or says that the revision is compacted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use store_api::*;
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, StateMachine};

const REVISIONS: u64 = 5_000;
/// Revisions kept readable: few, so that reads often meet the mark.
const HISTORY: u64 = 1;

fn apply(state: &StateMachine, commands: Vec<Command>) {
    let entry = |(index, command)| ApplyEntry { index, log_id: Bytes::new(), payload: ApplyPayload::Command(command) };
    let entries: Vec<ApplyEntry> = (state.next_index()..).zip(commands).map(entry).collect();
    for applied in state.apply(&entries).expect("apply") {
        assert!(!matches!(applied.reply, Reply::Refused(_)), "{:?}", applied.reply);
    }
}

/// Revision `n` writes `n` to two keys; a third exists in even revisions only.
fn write(n: u64) -> Command {
    let put = |key: &'static str| Op::Put { key: Bytes::from(key), value: n.to_string().into(), lease: 0 };
    let third = if n.is_multiple_of(2) { put("c") } else { Op::Delete { key: Bytes::from("c") } };
    Command::Txn(Txn { success: vec![put("a"), put("b"), third], ..Txn::default() })
}

/// Whether the answer is the one of its revision.
fn check_range(reply: &RangeReply) {
    let n = reply.revision;
    let keys: &[&str] = if n == FIRST_REVISION {
        &[]
    } else if n.is_multiple_of(2) {
        &["a", "b", "c"]
    } else {
        &["a", "b"]
    };
    let expected: Vec<(Bytes, String)> = keys.iter().map(|key| (Bytes::from(*key), n.to_string())).collect();
    let found: Vec<(Bytes, String)> =
        reply.kvs.iter().map(|kv| (kv.key.clone(), String::from_utf8_lossy(&kv.value).into_owned())).collect();
    assert_eq!(found, expected, "at revision {n}");
}

fn check_events(after: Revision, revisions: &[(Revision, Vec<Event>)]) {
    for (expected, (revision, events)) in (after.max(FIRST_REVISION) + 1..).zip(revisions) {
        assert_eq!((*revision, events.len()), (expected, 3));
        for event in events {
            match event {
                Event::Put { kv, previous } => {
                    assert_eq!(kv.value, revision.to_string());
                    let before = if kv.key == "c" || *revision == 2 { None } else { Some((revision - 1).to_string()) };
                    assert_eq!(previous.as_ref().map(|kv| kv.value.clone()), before.map(Bytes::from));
                }
                Event::Delete { previous, .. } => assert_eq!(previous.value, (revision - 1).to_string()),
            }
        }
    }
}

fn is_compacted<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    match result {
        Ok(_) => false,
        Err(StoreError::Compacted { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_answer_is_of_its_revision() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = StateMachine::open(dir.path()).expect("open");
    let done = AtomicBool::new(false);
    let running = || !done.load(Ordering::Relaxed);
    let (reads, compacted) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |was_compacted: bool| {
        (if was_compacted { &compacted } else { &reads }).fetch_add(1, Ordering::Relaxed);
    };
    let all = RangeRequest::prefix(b"", ReadAt::Local);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running() {
                let newest = state.range(&all, None).expect("the newest can always be read");
                check_range(&newest);
                let (kv, at) = state.get(b"b", None).expect("the newest can always be read");
                assert_eq!(kv.map_or(Bytes::from("1"), |kv| kv.value), at.to_string());
                count(false);
            }
        });
        scope.spawn(|| {
            let mut n = 0u64;
            while running() {
                n += 1;
                let at = state.revision().saturating_sub(n % (HISTORY + 2)).max(FIRST_REVISION);
                let range = state.range(&all, Some(at));
                range.iter().for_each(check_range);
                count(is_compacted(&range));
                let get = state.get(b"a", Some(at));
                get.iter().for_each(|(kv, at)| {
                    assert_eq!(kv.as_ref().map_or(Bytes::from("1"), |kv| kv.value.clone()), at.to_string());
                });
                count(is_compacted(&get));
                let events = state.events(at, Revision::MAX, 7);
                events.iter().for_each(|revisions| check_events(at, revisions));
                count(is_compacted(&events));
            }
        });
        scope.spawn(|| {
            while running() {
                while state.collect_garbage(2).expect("collect") {}
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let file = dir.path().join("snapshot");
            while running() {
                let built = state.build_snapshot(&file).expect("build");
                let other = tempfile::tempdir().expect("a directory");
                let other = StateMachine::open(other.path()).expect("open");
                other.install_snapshot(&file).expect("install");
                assert_eq!(other.revision(), built.revision);
                check_range(&other.range(&all, None).expect("range"));
                let after = other.compacted().saturating_sub(1);
                check_events(after, &other.events(after, Revision::MAX, usize::MAX).expect("events"));
            }
        });
        // Longer on a machine where the readers get little time.
        let seen_enough = || reads.load(Ordering::Relaxed) > 100 && compacted.load(Ordering::Relaxed) > 10;
        for n in (2..=REVISIONS * 20).take_while(|n| *n <= REVISIONS || !seen_enough()) {
            let mut commands = vec![write(n)];
            if n > HISTORY + 1 {
                commands.push(Command::Compact { revision: n - HISTORY });
            }
            apply(&state, commands);
        }
        done.store(true, Ordering::Relaxed);
    });
    let (reads, compacted) = (reads.into_inner(), compacted.into_inner());
    println!("{reads} reads answered, {compacted} were compacted");
    assert!(reads > 100 && compacted > 10, "{reads} reads, {compacted} compacted");
    assert!(state.revision() >= REVISIONS);
}
