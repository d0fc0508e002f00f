//! Snapshot files of states that are large in one way or another, and of disks that are full.

use bytes::Bytes;
use store_api::*;
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, StateMachine, verify_snapshot};

/// In memory where there is such a thing: this is about what is written, not about the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn apply(state: &StateMachine, txn: Txn) -> TxnReply {
    let payload = ApplyPayload::Command(Command::Txn(txn));
    let entry = ApplyEntry { index: state.next_index(), log_id: Bytes::from("log id"), payload };
    match state.apply(&[entry]).expect("applied").remove(0).reply {
        Reply::Txn(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn put(key: String, bytes: usize) -> Op {
    Op::Put { key: key.into(), value: vec![b'v'; bytes].into(), lease: 0 }
}

/// The events of one revision are one record, and one deletion may have any number of them.
#[test]
fn a_record_may_be_longer_than_any_chunk() {
    const KEYS: usize = 18_000;
    let (dir, other) = (scratch(), scratch());
    let state = StateMachine::open(dir.path()).expect("open");
    let key = |n: usize| format!("{n:0>4000}");
    for first in (0..KEYS).step_by(1_800) {
        let success = (first..first + 1_800).map(|n| put(key(n), 1)).collect();
        apply(&state, Txn { success, ..Txn::default() });
    }
    let all = Op::DeleteRange { start: Bytes::new(), end: Bytes::new() };
    apply(&state, Txn { success: vec![all], ..Txn::default() });
    apply(&state, Txn { success: vec![put("after".into(), 10)], ..Txn::default() });
    let file = dir.path().join("snapshot");
    let built = state.build_snapshot(&file).expect("build");
    assert_eq!(verify_snapshot(&file).as_ref(), Ok(&built));
    let target = StateMachine::open(other.path()).expect("open");
    assert_eq!(target.install_snapshot(&file).as_ref(), Ok(&built));
    assert_eq!(target.revision_and_hash(), state.revision_and_hash());
    let last = |state: &StateMachine| state.events(11, 12, usize::MAX).expect("events");
    assert_eq!(last(&target)[0].1.len(), KEYS);
    assert!(last(&target) == last(&state));
}

/// Before the first entry there is a state too, and a replica may be made of it.
#[test]
fn the_state_of_nothing_is_one_too() {
    let (dir, other) = (scratch(), scratch());
    let state = StateMachine::open(dir.path()).expect("open");
    let file = dir.path().join("snapshot");
    let built = state.build_snapshot(&file).expect("build");
    assert_eq!((built.revision, built.log_id.clone()), (FIRST_REVISION, None));
    let target = StateMachine::open(other.path()).expect("open");
    assert_eq!(target.install_snapshot(&file).as_ref(), Ok(&built));
    assert_eq!((target.next_index(), target.revision_and_hash()), (0, state.revision_and_hash()));
    assert_eq!(apply(&target, Txn::put("a", "1")).revision, apply(&state, Txn::put("a", "1")).revision);
}

/// Nothing was lost by a snapshot that does not fit: the state goes on, and the next try may succeed.
#[test]
fn a_full_disk_costs_the_snapshot_only() {
    let dir = scratch();
    let state = StateMachine::open(dir.path()).expect("open");
    apply(&state, Txn::put("a", vec![b'v'; 3 << 20]));
    let file = dir.path().join("snapshot");
    std::os::unix::fs::symlink("/dev/full", dir.path().join("snapshot.tmp")).expect("linked");
    let refused = state.build_snapshot(&file);
    assert!(matches!(refused, Err(StoreError::NoSpace(_))), "{refused:?}");
    assert!(!file.exists());
    apply(&state, Txn::put("a", "2"));
    state.build_snapshot(&file).expect("the next try");
    assert_eq!(verify_snapshot(&file).expect("whole").revision, 3);
}

/// Who wants few events reads few, however much was written beside them.
#[test]
fn events_of_other_keys_are_not_read() {
    let dir = scratch();
    let state = StateMachine::open(dir.path()).expect("open");
    for n in 0..30 {
        apply(&state, Txn { success: vec![put(format!("b/{n}"), 3 << 19)], ..Txn::default() });
    }
    apply(&state, Txn::put("a/1", "wanted"));
    let found = state.events_in(0, Revision::MAX, (b"a/", b"a0"), 1_000).expect("events");
    assert_eq!((found.upto, found.revisions.len(), found.revisions[0].0), (32, 1, 32));
    let found = state.events_in(0, Revision::MAX, (b"b/", b"b0"), 1_000).expect("events");
    assert_eq!((found.upto, found.revisions.len()), (23, 22), "32 MiB at once");
}
