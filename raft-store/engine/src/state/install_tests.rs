//! A crash at any step of installing a snapshot leaves the old state or the new one, and can be gone on from.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use store_api::{RangeRequest, ReadAt, StoreError, Txn};
use store_core::Command;

use super::{InstallStep, StateMachine};
use crate::{ApplyEntry, ApplyPayload};

fn put(index: u64, key: &str, bytes: usize) -> ApplyEntry {
    let command = Command::Txn(Txn::put(key.to_owned(), vec![b'v'; bytes]));
    ApplyEntry { index, log_id: Bytes::from(format!("after {key}")), payload: ApplyPayload::Command(command) }
}

fn state(dir: &Path, keys: std::ops::Range<u32>, bytes: usize) -> StateMachine {
    let state = StateMachine::open(dir).expect("open");
    let entries: Vec<ApplyEntry> = (0..).zip(keys).map(|(at, n)| put(at, &format!("{n:03}"), bytes)).collect();
    state.apply(&entries).expect("apply");
    state
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("a file")),
        }
    }
}

fn databases(dir: &Path) -> usize {
    let entries = fs::read_dir(dir.join("state")).expect("a directory").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("db-")).count()
}

/// What tells one state from another.
fn identity(state: &StateMachine) -> (u64, u64, usize, Option<Bytes>) {
    let (revision, hash) = state.revision_and_hash();
    let count = state.range(&RangeRequest::prefix(b"", ReadAt::Local), None).expect("range").count;
    (revision, hash, count, state.last_applied().expect("position").0)
}

#[test]
fn a_crash_leaves_the_old_state_or_the_new_one() {
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    // Large enough to be loaded in several batches.
    let source = state(&at("source"), 0..60, 200_000);
    source.build_snapshot(&at("snapshot")).expect("build");
    let target = state(&at("target"), 500..510, 10);
    target.make_durable().expect("durable");
    let (old, new) = (identity(&target), identity(&source));

    let mut steps = Vec::new();
    target
        .install_observed(&at("snapshot"), &mut |step| {
            copy(&at("target"), &at(&format!("crash-{}", steps.len())));
            steps.push(step);
            Ok(())
        })
        .expect("install");
    assert_eq!(identity(&target), new);
    assert_eq!(databases(&at("target")), 1);

    let loads = steps.iter().filter(|step| **step == InstallStep::Loading).count();
    assert!(loads >= 2, "{steps:?}");
    for (n, step) in steps.iter().enumerate() {
        let crashed = at(&format!("crash-{n}"));
        let expected = match step {
            InstallStep::Begun | InstallStep::Loading | InstallStep::Loaded => &old,
            InstallStep::Switched | InstallStep::Done => &new,
        };
        let state = StateMachine::open(&crashed).expect("open");
        assert_eq!(&identity(&state), expected, "{step:?}");
        assert_eq!(databases(&crashed), 1, "{step:?} leaves nothing behind");
        state.install_snapshot(&at("snapshot")).expect("install");
        state.apply(&[put(60, "more", 1)]).expect("apply");
        assert_eq!(identity(&state).0, new.0 + 1);
    }
}

#[test]
fn an_install_that_fails_changes_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let source = state(&at("source"), 0..60, 200_000);
    source.build_snapshot(&at("snapshot")).expect("build");
    let target = state(&at("target"), 0..3, 10);
    let old = identity(&target);
    let full = StoreError::Fatal("no space left".into());
    let failed = target.install_observed(&at("snapshot"), &mut |step| match step {
        InstallStep::Loading => Err(full.clone()),
        _ => Ok(()),
    });
    assert_eq!(failed, Err(full));
    assert_eq!((identity(&target), databases(&at("target"))), (old, 1));
    target.install_snapshot(&at("snapshot")).expect("install");
    assert_eq!(identity(&target), identity(&source));
}

/// Readers that began before the switch end on the state they began with.
#[test]
fn reads_go_on_while_a_snapshot_is_installed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let source = state(&at("source"), 0..50, 1000);
    source.build_snapshot(&at("snapshot")).expect("build");
    let target = state(&at("target"), 0..5, 10);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut counts = std::collections::BTreeSet::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let reply = target.range(&RangeRequest::prefix(b"", ReadAt::Local), None).expect("range");
                counts.insert((reply.revision, reply.count));
            }
            counts
        });
        for _ in 0..5 {
            target.install_snapshot(&at("snapshot")).expect("install");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let counts = reader.join().expect("reader");
        assert!(counts.is_subset(&[(6, 5), (51, 50)].into()), "{counts:?}");
    });
}
