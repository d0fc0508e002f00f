//! What a crash or a bad disk may do to the state, and to snapshot files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::image::{contents, files, flip, image, scratch};
use bytes::Bytes;
use store_api::*;
use store_core::{Command, Lease};
use store_engine::{ApplyEntry, ApplyPayload, StateMachine, verify_snapshot};

/// Flips per file.
const FLIPS: usize = 20;

fn entry(index: u64, payload: ApplyPayload) -> ApplyEntry {
    ApplyEntry { index, log_id: Bytes::from(format!("log id {index}")), payload }
}

fn commands(first: u64, commands: impl IntoIterator<Item = Command>) -> Vec<ApplyEntry> {
    let commands = commands.into_iter().map(ApplyPayload::Command);
    (first..).zip(commands).map(|(index, command)| entry(index, command)).collect()
}

/// Group number `n`, from 1: entries of every kind, one after the other.
pub(crate) fn group(n: u64) -> Vec<ApplyEntry> {
    let key = |m: u64| Bytes::from(format!("key/{}", (n + m) % 7));
    let request = Some(RequestId { client: 1, seq: n });
    let put = Txn { request, ..Txn::put(key(0), format!("value {n}")) };
    let leased = Op::Put { key: Bytes::from("leased"), value: Bytes::from("v"), lease: n / 4 + 1 };
    let payloads = vec![
        ApplyPayload::Blank,
        ApplyPayload::Command(Command::Txn(put)),
        ApplyPayload::Command(Command::Txn(Txn::delete(key(3)))),
        ApplyPayload::Command(Command::LeaseGrant { request: None, id: 0, ttl_ms: 1000 + n }),
        ApplyPayload::Command(Command::Txn(Txn { success: vec![leased], ..Txn::default() })),
        ApplyPayload::Command(Command::Compact { revision: n / 2 }),
        ApplyPayload::Membership { membership: key(1), members: vec![n, n + 1] },
    ];
    let first = (n - 1) * payloads.len() as u64;
    (first..).zip(payloads).map(|(index, payload)| entry(index, payload)).collect()
}

/// All there is to see of a state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at: (Revision, u64),
    last_applied: (Option<Bytes>, Option<Bytes>),
    kvs: RangeReply,
    events: Vec<(Revision, Vec<Event>)>,
    leases: Vec<Lease>,
    pub(crate) removed: BTreeSet<u64>,
}

pub(crate) fn see(state: &StateMachine) -> Result<Seen, StoreError> {
    Ok(Seen {
        at: state.revision_and_hash(),
        last_applied: state.last_applied()?,
        kvs: state.range(&RangeRequest::prefix(b"", ReadAt::Local), None)?,
        events: state.events(state.compacted(), Revision::MAX, usize::MAX)?,
        leases: state.leases()?,
        removed: state.removed_nodes(),
    })
}

fn open(dir: &Path) -> StateMachine {
    StateMachine::open(dir).expect("open")
}

fn refusal(dir: &Path) -> String {
    match StateMachine::open(dir) {
        Ok(state) => panic!("opened at {}", state.revision()),
        Err(error) => error.to_string(),
    }
}

/// A kill takes the state back to where it was durable, never into the middle of a group; the log leads on from there.
#[test]
fn a_kill_takes_the_state_back_to_whole_groups() {
    let dir = scratch();
    let state = open(dir.path());
    let mut known = vec![see(&state).unwrap()];
    let mut durable = 0;
    for n in 1..=6 {
        state.apply(&group(n)).unwrap();
        known.push(see(&state).unwrap());
        if n % 2 == 0 {
            let made = state.make_durable().unwrap();
            assert_eq!((made.log_id, made.membership), state.last_applied().unwrap());
            durable = n;
        }
        let killed = image(dir.path());
        let killed = open(killed.path());
        assert_eq!(see(&killed).as_ref(), Ok(&known[durable as usize]));
        for n in durable + 1..=n {
            killed.apply(&group(n)).unwrap();
        }
        assert_eq!(see(&killed).as_ref(), Ok(&known[n as usize]), "applying the log again leads to the same state");
    }
    state.apply(&group(7)).unwrap();
    let last = see(&state).unwrap();
    drop(state);
    assert_eq!(see(&open(dir.path())), Ok(last), "an orderly end loses nothing");
}

/// An id that was used is never used again, so that it was is part of the state and of its snapshots.
#[test]
fn removed_members_are_remembered() {
    let (dir, other) = (scratch(), scratch());
    let state = open(dir.path());
    for n in 1..=3 {
        state.apply(&group(n)).unwrap();
    }
    assert_eq!(state.removed_nodes(), BTreeSet::from([1, 2]));
    let file = dir.path().join("snapshot");
    state.build_snapshot(&file).unwrap();
    let target = open(other.path());
    target.install_snapshot(&file).unwrap();
    drop(state);
    for state in [open(dir.path()), target] {
        assert_eq!(state.removed_nodes(), BTreeSet::from([1, 2]));
    }
}

/// Once the state is durable the log may be purged, so a state that is older must not pass for whole.
#[test]
fn what_was_made_durable_must_be_there() {
    let dir = scratch();
    let state = open(dir.path());
    state.apply(&group(1)).unwrap();
    state.apply(&group(2)).unwrap();
    let before = image(dir.path());
    state.make_durable().unwrap();
    state.apply(&group(3)).unwrap();
    assert_eq!(open(image(dir.path()).path()).revision(), 5);
    assert_eq!(open(image(before.path()).path()).revision(), 1, "nothing was promised by then");
    fs::copy(dir.path().join("state/CURRENT"), before.path().join("state/CURRENT")).unwrap();
    let message = refusal(before.path());
    assert!(message.contains("must be replaced"), "{message}");
}

/// Flips bits all over the files. Every one is refused at open or at reading, or is harmless: the state is
/// whole, or it is an earlier one that the log leads on from.
#[test]
fn flipped_bits_never_give_wrong_answers() {
    let dir = scratch();
    let mut known = Vec::new();
    for n in 1..=6 {
        // Opened anew halfway, so that there are table files too.
        let state = open(dir.path());
        state.apply(&group(n)).unwrap();
        known.push(see(&state).unwrap());
        if n == 2 {
            state.make_durable().unwrap();
        }
    }
    let (mut refused, mut earlier, mut harmless) = (0, 0, 0);
    for file in files(dir.path()).iter().filter(|file| file.starts_with("state")) {
        let length = fs::metadata(dir.path().join(file)).unwrap().len() as usize;
        for n in 0..length.min(FLIPS) {
            let offset = n * length / length.min(FLIPS);
            let image = image(dir.path());
            flip(&image.path().join(file), offset, (n % 8) as u8);
            match StateMachine::open(image.path()).and_then(|state| see(&state)) {
                Err(_) => refused += 1,
                Ok(seen) if seen == known[5] => harmless += 1,
                Ok(seen) => {
                    let place = known.iter().position(|known| *known == seen);
                    assert!(place.is_some_and(|n| n >= 1), "{}, byte {offset}: {seen:?}", file.display());
                    earlier += 1;
                }
            }
        }
    }
    println!("{refused} flips refused, {earlier} led to an earlier state, {harmless} harmless");
    assert!(refused > FLIPS, "{refused} of {}", refused + earlier + harmless);
}

#[test]
fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let dir = scratch();
    let state = open(dir.path());
    state.apply(&group(1)).unwrap();
    let file = dir.path().join("snapshot");
    let info = state.build_snapshot(&file).unwrap();
    assert_eq!(verify_snapshot(&file).as_ref(), Ok(&info));
    let other = scratch();
    let target = open(other.path());
    target.apply(&group(1)).unwrap();
    target.apply(&group(2)).unwrap();
    let before = see(&target).unwrap();
    let damaged = dir.path().join("damaged");
    let content = fs::read(&file).unwrap();
    let refused = |content: &[u8], what: &str| {
        fs::write(&damaged, content).unwrap();
        let error = verify_snapshot(&damaged);
        assert!(matches!(error, Err(StoreError::Invalid(_))), "{what}: {error:?}");
    };
    for offset in 0..content.len() {
        let mut flipped = content.clone();
        flipped[offset] ^= 1 << (offset % 8);
        refused(&flipped, &format!("byte {offset}"));
        if offset % 97 == 0 {
            assert!(target.install_snapshot(&damaged).is_err());
            refused(&content[..offset], &format!("cut at {offset}"));
        }
    }
    refused(&[&content[..], b"x"].concat(), "something added");
    assert!(target.install_snapshot(&dir.path().join("missing")).is_err());
    assert_eq!(see(&target), Ok(before.clone()));
    target.apply(&group(3)).unwrap();
    drop(target);
    assert_eq!(open(other.path()).revision(), before.at.0 + 2);
    let databases = fs::read_dir(other.path().join("state")).unwrap().flatten();
    let databases = databases.filter(|e| e.file_name().to_string_lossy().starts_with("db-")).count();
    assert_eq!(databases, 1, "what was loaded in vain is removed");
}

#[test]
fn the_state_after_an_entry_is_remembered_for_a_while() {
    let dir = scratch();
    let state = open(dir.path());
    let puts = |count| (0..count).map(|n| Command::Txn(Txn::put("key", n.to_string())));
    let mut known = Vec::new();
    for (index, put) in (0..).zip(puts(3)) {
        assert_eq!(state.state_at(index), None);
        state.apply(&commands(index, [put])).unwrap();
        known.push(state.revision_and_hash());
    }
    assert_eq!(
        (0..4).map(|index| state.state_at(index)).collect::<Vec<_>>(),
        [Some(known[0]), Some(known[1]), Some(known[2]), None]
    );
    drop(state);
    let state = open(dir.path());
    assert_eq!((state.state_at(1), state.state_at(2)), (None, Some(known[2])), "after a restart the last one is known");
}

/// A hole in the log, or an entry applied twice, is never papered over.
#[test]
fn only_the_entry_that_follows_is_applied() {
    let put = || Command::Txn(Txn::put("key", "v"));
    for (index, what) in [(4, "a hole"), (2, "one that was applied already")] {
        let dir = scratch();
        let state = open(dir.path());
        state.apply(&commands(0, [put(), put(), put()])).unwrap();
        let refused = state.apply(&commands(index, [put()]));
        assert!(matches!(refused, Err(StoreError::Fatal(_))), "{what}: {refused:?}");
        assert!(state.apply(&commands(3, [put()])).is_err(), "{what}: nothing more is applied");
        drop(state);
        let state = open(dir.path());
        assert_eq!((state.revision(), state.next_index()), (4, 3), "{what} changed nothing");
    }
}

#[test]
fn another_format_is_refused_untouched() {
    let dir = scratch();
    open(dir.path()).apply(&group(1)).unwrap();
    fs::write(dir.path().join("state/FORMAT"), "kontiki state 9\n").unwrap();
    let before = contents(dir.path());
    assert!(refusal(dir.path()).contains("\"kontiki state 9\""));
    assert!(contents(dir.path()) == before, "nothing was written");
}

/// The version before kept the newest batches in a write-ahead log of the database only.
#[test]
fn an_older_format_is_migrated() {
    let dir = scratch();
    open(dir.path()).apply(&group(1)).unwrap();
    let (path, format) = (dir.path().join("state/db-1"), dir.path().join("state/FORMAT"));
    let add = |key: &[u8]| {
        let db = rocksdb::DB::open(&rocksdb::Options::default(), &path).unwrap();
        db.put(key, b"").unwrap();
    };
    // Node 77 was removed: in the write-ahead log, nowhere else.
    add(&[b"r", &77u64.to_be_bytes()[..]].concat());
    fs::write(&format, "kontiki state 3\n").unwrap();
    let state = open(dir.path());
    assert_eq!((state.revision(), state.removed_nodes().contains(&77)), (3, true));
    assert_eq!(fs::read_to_string(&format).unwrap(), "kontiki state 5\n");
    let pointer = fs::read_to_string(dir.path().join("state/CURRENT")).unwrap();
    assert!(pointer.contains(&format!("durable-index {}", state.next_index())), "{pointer}");
    state.apply(&group(2)).unwrap();
    drop(state);
    let again = open(dir.path());
    assert!(again.revision() > 3 && again.removed_nodes().contains(&77));
}

/// A crash between any two steps leaves one format or the other.
#[test]
fn a_migration_that_was_interrupted_is_done_again() {
    let dir = scratch();
    open(dir.path()).apply(&group(1)).unwrap();
    let format = dir.path().join("state/FORMAT");
    fs::write(&format, "kontiki state 3\n").unwrap();
    fs::write(dir.path().join("state/FORMAT.tmp"), "kontiki sta").unwrap();
    assert_eq!(open(dir.path()).revision(), 3);
    assert_eq!(fs::read_to_string(&format).unwrap(), "kontiki state 5\n");
}

#[test]
fn the_pointer_is_not_guessed() {
    let dir = scratch();
    open(dir.path()).apply(&group(1)).unwrap();
    let pointer = dir.path().join("state/CURRENT");
    let content = fs::read_to_string(&pointer).unwrap();
    fs::write(&pointer, content.replace("generation 1", "generation 2")).unwrap();
    assert!(refusal(dir.path()).contains("CURRENT: damaged"));
    fs::remove_file(&pointer).unwrap();
    assert!(refusal(dir.path()).contains("CURRENT"));
    fs::write(&pointer, content).unwrap();
    assert_eq!(open(dir.path()).revision(), 3);
}

#[test]
fn one_process_at_a_time() {
    let dir = scratch();
    let _state = open(dir.path());
    assert!(refusal(dir.path()).contains("another process is using this data directory"));
}

/// Compaction and garbage collection leave one version of each key that exists, the events of the compacted
/// revision with what they replaced, and nothing else.
#[test]
fn nothing_is_left_of_what_is_gone() {
    let dir = scratch();
    let state = open(dir.path());
    for n in 0..10 {
        let key = format!("key/{}", n % 3);
        let mut txns = vec![Txn::put(key.clone(), "v")];
        if n % 3 == 0 {
            txns.push(Txn::delete(key));
        }
        state.apply(&commands(state.next_index(), txns.into_iter().map(Command::Txn))).unwrap();
    }
    let revision = state.revision();
    let commands_of = [Command::Txn(Txn::put("key/2", "last")), Command::Compact { revision: revision + 1 }];
    state.apply(&commands(state.next_index(), commands_of)).unwrap();
    while state.collect_garbage(1).unwrap() {}
    assert!(!state.collect_garbage(1).unwrap());
    drop(state);
    let db = rocksdb::DB::open_default(dir.path().join("state/db-1")).unwrap();
    let left = db.iterator(rocksdb::IteratorMode::Start).map(|record| record.unwrap().0);
    let left: Vec<String> = left.map(|key| String::from_utf8_lossy(&key[..key.len().min(6)]).into_owned()).collect();
    assert_eq!(left, ["g\0\0\0\0\0", "m", "vkey/1", "vkey/2", "vkey/2"]);
}
