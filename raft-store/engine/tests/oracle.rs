//! Random commands, applied in groups with restarts, snapshots and garbage collection between them, do to
//! the engine what they do to the in-memory store; and every way to the same log gives the same state.

#[path = "../../core/tests/support/mod.rs"]
mod commands;

use std::path::Path;

use bytes::Bytes;
use commands::{Oracle, command, everything, same_reply};
use proptest::prelude::*;
use store_api::*;
use store_core::Command;
use store_engine::{ApplyEntry, ApplyPayload, StateMachine};

/// What happens between two groups.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Reopen,
    CollectSome,
    CollectAll,
    Snapshot,
}

fn group() -> impl Strategy<Value = (Vec<Command>, Between)> {
    let between = prop::sample::select(
        &[
            Between::Nothing,
            Between::Nothing,
            Between::Reopen,
            Between::CollectSome,
            Between::CollectAll,
            Between::Snapshot,
        ][..],
    );
    (prop::collection::vec(command(), 1..12), between)
}

fn entry(index: u64, command: &Command) -> ApplyEntry {
    ApplyEntry { index, log_id: log_id(index), payload: ApplyPayload::Command(command.clone()) }
}

fn log_id(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

/// In memory where there is such a thing: this is about what is computed, not about the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn events(state: &StateMachine, after: Revision) -> Result<Vec<Event>, StoreError> {
    let revisions = state.events(after, Revision::MAX, usize::MAX)?;
    Ok(revisions.into_iter().flat_map(|(_, events)| events).collect())
}

/// Every read at every revision.
fn compare(state: &StateMachine, oracle: &Oracle) -> Result<(), TestCaseError> {
    let (revision, compacted) = (state.revision(), state.compacted());
    prop_assert_eq!(revision, oracle.store.applied_revision());
    prop_assert_eq!(compacted, oracle.store.status().compacted_revision);
    for at in compacted.saturating_sub(1)..=revision {
        let request = everything(at);
        let found = state.range(&request, Some(at));
        prop_assert_eq!(&found, &oracle.range(request.clone()));
        for kv in found.iter().flat_map(|reply| &reply.kvs) {
            prop_assert_eq!(state.get(&kv.key, Some(at)), Ok((Some(kv.clone()), at)));
        }
        let limited = RangeRequest { limit: 2, keys_only: true, start: Bytes::from("a\0"), ..request };
        prop_assert_eq!(state.range(&limited, Some(at)), oracle.range(limited.clone()));
        let uncounted = RangeRequest { count: false, ..limited };
        prop_assert_eq!(state.range(&uncounted, Some(at)), oracle.range(uncounted.clone()));
        let ours = events(state, at);
        prop_assert_eq!(&ours, &oracle.events(at + 1));
        let of_range = state.events_in(at, Revision::MAX, (b"a\0", b"c"), usize::MAX);
        prop_assert_eq!(of_range.as_ref().map(|found| found.upto).ok(), ours.is_ok().then_some(revision));
        let of_range = of_range.map(|found| found.revisions.into_iter().flat_map(|(_, events)| events).collect());
        let inside = |event: &Event| in_range(&event.kv().key, b"a\0", b"c");
        prop_assert_eq!(of_range, ours.map(|events| events.into_iter().filter(inside).collect::<Vec<_>>()));
    }
    prop_assert_eq!(state.get(b"a", None).map(|(_, at)| at), Ok(revision));
    Ok(())
}

fn snapshot_round_trip(state: &StateMachine, dir: &Path) -> Result<StateMachine, TestCaseError> {
    let file = dir.join("snapshot");
    let built = state.build_snapshot(&file).unwrap();
    prop_assert_eq!(&store_engine::verify_snapshot(&file), &Ok(built.clone()));
    let hash = state.hash_at(None).unwrap();
    prop_assert_eq!((hash.revision, hash.compacted), (state.revision(), state.compacted()));
    let collected = dir.join("collected");
    while state.collect_garbage(100).unwrap() {}
    state.compact_files();
    prop_assert_eq!(state.hash_at(None), Ok(hash), "garbage does not count");
    state.build_snapshot(&collected).unwrap();
    prop_assert!(std::fs::read(&collected).unwrap() == std::fs::read(&file).unwrap(), "garbage does not count");
    let other = StateMachine::open(&dir.join("other")).unwrap();
    prop_assert_eq!(&other.install_snapshot(&file), &Ok(built));
    prop_assert_eq!(other.revision_and_hash(), state.revision_and_hash());
    prop_assert_eq!(other.last_applied(), state.last_applied());
    prop_assert_eq!(other.leases(), state.leases());
    let middle = (state.compacted() + state.revision()) / 2;
    for at in [None, Some(state.compacted()), Some(middle), Some(state.revision() + 1)] {
        prop_assert_eq!(other.hash_at(at), state.hash_at(at));
    }
    let again = dir.join("again");
    other.build_snapshot(&again).unwrap();
    prop_assert!(std::fs::read(&again).unwrap() == std::fs::read(&file).unwrap(), "equal states, equal snapshots");
    Ok(other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn engine_agrees_with_the_oracle(groups in prop::collection::vec(group(), 1..8)) {
        let dir = scratch();
        let one_by_one = scratch();
        let oracle = Oracle::new();
        let mut state = StateMachine::open(dir.path()).unwrap();
        let single = StateMachine::open(one_by_one.path()).unwrap();
        let mut index = 0;
        for (commands, between) in &groups {
            let entries: Vec<ApplyEntry> = (index..).zip(commands).map(|(index, c)| entry(index, c)).collect();
            index += entries.len() as u64;
            let applied = state.apply(&entries).unwrap();
            for (command, applied) in commands.iter().zip(&applied) {
                let expected = oracle.apply(command);
                let compacted = oracle.store.status().compacted_revision;
                prop_assert!(
                    same_reply(command, &applied.reply, &expected, compacted),
                    "{command:?}: {:?}, not {expected:?}",
                    applied.reply
                );
                prop_assert_eq!(applied.revision, oracle.store.applied_revision());
                if !applied.events.is_empty() {
                    prop_assert_eq!(&applied.events, &oracle.events(applied.revision).unwrap());
                }
            }
            for entry in &entries {
                single.apply(std::slice::from_ref(entry)).unwrap();
            }
            match between {
                Between::Nothing => {}
                Between::Reopen => {
                    drop(state);
                    state = StateMachine::open(dir.path()).unwrap();
                }
                Between::CollectSome => drop(state.collect_garbage(2).unwrap()),
                Between::CollectAll => while state.collect_garbage(3).unwrap() {},
                Between::Snapshot => {
                    let files = scratch();
                    let other = snapshot_round_trip(&state, files.path())?;
                    compare(&other, &oracle)?;
                    state.install_snapshot(&files.path().join("snapshot")).unwrap();
                }
            }
            compare(&state, &oracle)?;
        }
        prop_assert_eq!(state.revision_and_hash(), single.revision_and_hash());
        prop_assert_eq!(state.hash_at(None), single.hash_at(None));
        prop_assert_eq!(state.leases(), single.leases());
        prop_assert_eq!(state.last_applied(), Ok((Some(log_id(index - 1)), None)));
    }
}
