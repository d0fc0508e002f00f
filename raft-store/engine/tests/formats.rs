//! What every version must read: a log, a state and a snapshot of each format there was, as files; and what it must
//! write. `WRITE_FORMATS=1` writes those that are missing, when a format is new; one that is there is never written
//! again.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use store_api::*;
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, RaftLog, StateMachine, verify_snapshot};

use crate::damage::{group, see};
use crate::image::{contents, files, image, scratch};

/// Groups of entries in every state.
const GROUPS: u64 = 6;

/// Where the files of one format are, made by `write` when they are missing and wanted.
fn fixture(name: &str, write: impl FnOnce(&Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name);
    if !path.exists() && std::env::var_os("WRITE_FORMATS").is_some() {
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        write(&path);
    }
    assert!(path.exists(), "{} is missing", path.display());
    path
}

fn copy(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    for file in files(from).into_iter().filter(|file| wanted(&file.to_string_lossy())) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().expect("a directory")).expect("created");
        fs::copy(from.join(file), target).expect("copied");
    }
}

/// Locks, and what RocksDB writes for people to read, are no part of a format.
fn is_of_the_format(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    name != "LOCK" && !name.starts_with("LOG") && !name.starts_with("OPTIONS")
}

fn written(dir: &Path) -> StateMachine {
    let state = StateMachine::open(dir).expect("open");
    (1..=GROUPS).for_each(|n| drop(state.apply(&group(n)).expect("applied")));
    state
}

/// Gives records the form they had up to format 4.
fn make_old(database: &Path) {
    let db = rocksdb::DB::open(&rocksdb::Options::default(), database).expect("open");
    let unflushed = {
        let mut options = rocksdb::WriteOptions::default();
        options.disable_wal(true);
        options
    };
    for (key, value) in records(&db) {
        let Some(old) = old_records(&key, &value) else { continue };
        for (key, value) in old {
            db.put_opt(key, value, &unflushed).expect("written");
        }
        db.delete_opt(key, &unflushed).expect("removed");
    }
    db.flush().expect("flushed");
}

fn records(db: &rocksdb::DB) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = db.iterator(rocksdb::IteratorMode::Start).map(|record| record.expect("a record"));
    all.map(|(key, value)| (key.into_vec(), value.into_vec())).collect()
}

/// The records that lay by themselves before they were gathered in packs.
fn old_records(key: &[u8], value: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut packed, mut rest) = (Vec::new(), value);
    let (tag, is_events) = match key.first()? {
        b'g' => (b'e', true),
        b'a' => (b'd', false),
        _ => return None,
    };
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (record, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        packed.push(record.to_vec());
        rest = after;
    }
    let named = u64::from_be_bytes(key[1..].try_into().expect("a number"));
    // Of events the last one's number is known, of answers the first one's.
    let first = if is_events { named + 1 - packed.len() as u64 } else { named };
    let key = |number: u64| [&[tag][..], &number.to_be_bytes()].concat();
    Some((first..).map(key).zip(packed).collect())
}

fn state_fixture(format: u32) -> PathBuf {
    fixture(&format!("state-{format}"), |path| {
        let dir = scratch();
        drop(written(dir.path()));
        let database = dir.path().join("state/db-1");
        if format < 5 {
            make_old(&database);
        }
        if format == 3 {
            // A write-ahead log held the newest batches, and nothing else did.
            let db = rocksdb::DB::open(&rocksdb::Options::default(), &database).expect("open");
            let newest = [&b"r"[..], &77u64.to_be_bytes()].concat();
            db.put(newest, b"").expect("written");
        }
        fs::write(dir.path().join("state/FORMAT"), format!("kontiki state {format}\n")).expect("written");
        copy(&dir.path().join("state"), path, is_of_the_format);
    })
}

/// A state of each format is read, and goes on: what it answered it answers again, and the next entries are applied.
#[test]
fn states_of_all_formats_are_read() {
    let today = scratch();
    let expected = written(today.path());
    for format in [5, 4, 3] {
        let dir = scratch();
        copy(&state_fixture(format), &dir.path().join("state"), |_| true);
        let state = StateMachine::open(dir.path()).unwrap_or_else(|error| panic!("format {format}: {error}"));
        let mut seen = see(&state).expect("read");
        assert_eq!(seen.removed.remove(&77), format == 3, "of the write-ahead log");
        assert_eq!(seen, see(&expected).expect("read"), "format {format}");
        let next = state.next_index();
        let put = Txn { request: Some(RequestId { client: 1, seq: GROUPS }), ..Txn::put("again", "v") };
        let payload = ApplyPayload::Command(Command::Txn(put));
        let again = state.apply(&[ApplyEntry { index: next, log_id: "x".into(), payload }]).expect("applied");
        assert!(matches!(&again[0].reply, Reply::Txn(_)), "{:?}", again[0].reply);
        assert_eq!((again[0].events.len(), again[0].revision), (0, seen.at.0), "a retry has no second effect");
        drop(state);
        let format_now = fs::read_to_string(dir.path().join("state/FORMAT")).expect("there");
        assert_eq!(format_now, "kontiki state 5\n", "from format {format}");
        assert_eq!(StateMachine::open(dir.path()).expect("open").next_index(), next + 1);
    }
}

/// The parts of a snapshot file, its records rewritten, as of version 3.
fn old_snapshot(today: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(today[at..at + 4].try_into().expect("four bytes"));
    let header = 16 + 8 + number(16) as usize;
    let chunk = number(header) as usize;
    assert_eq!(number(header + 8 + chunk), 0, "one chunk");
    let (mut rest, mut content, mut count) = (&today[header + 8..][..chunk], Vec::new(), 0u64);
    while let Some((key_length, after)) = rest.split_first_chunk::<2>() {
        let (value_length, after) = after.split_first_chunk::<4>().expect("a record");
        let (key, after) = after.split_at(usize::from(u16::from_be_bytes(*key_length)));
        let (value, after) = after.split_at(u32::from_be_bytes(*value_length) as usize);
        let old = old_records(key, value).unwrap_or_else(|| vec![(key.to_vec(), value.to_vec())]);
        for (key, value) in old {
            content.extend_from_slice(&(key.len() as u16).to_be_bytes());
            content.extend_from_slice(&(value.len() as u32).to_be_bytes());
            content.extend_from_slice(&[key, value].concat());
            count += 1;
        }
        rest = after;
    }
    let mut file = [b"kontiki-snap", &3u32.to_be_bytes()[..], &today[16..header]].concat();
    file.extend_from_slice(&(content.len() as u32).to_be_bytes());
    file.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
    file.extend_from_slice(&content);
    file.extend_from_slice(&0u32.to_be_bytes());
    file.extend_from_slice(&count.to_be_bytes());
    let digest = Sha256::digest(&file);
    [&file[..], &digest].concat()
}

fn snapshot_fixture(version: u32) -> PathBuf {
    fixture(&format!("snapshot-{version}.snap"), |path| {
        let dir = scratch();
        written(dir.path()).build_snapshot(path).expect("built");
        if version == 3 {
            fs::write(path, old_snapshot(&fs::read(path).expect("read"))).expect("written");
        }
    })
}

/// A snapshot of each format is installed, and one is written today as it was when its format was new.
#[test]
fn snapshots_of_all_formats_are_read_and_todays_is_written() {
    let dir = scratch();
    let expected = written(dir.path());
    for version in [4, 3] {
        let (file, target) = (snapshot_fixture(version), scratch());
        verify_snapshot(&file).unwrap_or_else(|error| panic!("version {version}: {error}"));
        let state = StateMachine::open(target.path()).expect("open");
        state.install_snapshot(&file).unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert_eq!(see(&state), see(&expected), "version {version}");
        let again = target.path().join("again");
        state.build_snapshot(&again).expect("built");
        assert!(fs::read(&again).expect("read") == fs::read(snapshot_fixture(4)).expect("read"), "from {version}");
    }
    let mut newer = fs::read(snapshot_fixture(4)).expect("read");
    newer[15] = 5;
    let file = dir.path().join("newer");
    fs::write(&file, newer).expect("written");
    let refused =
        StoreError::Invalid(format!("snapshot {}: its format is 5, this version reads 4 and 3", file.display()));
    assert_eq!(
        (verify_snapshot(&file).err(), expected.install_snapshot(&file).err()),
        (Some(refused.clone()), Some(refused))
    );
}

/// A log with a record of every kind.
fn write_log(dir: &Path) {
    let log = RaftLog::open(dir).expect("open");
    let entry = |index: u64| (index, Bytes::from(format!("entry {index}")));
    log.save_vote(b"vote one").expect("written");
    log.append(&(0..8).map(entry).collect::<Vec<_>>()).expect("written");
    log.sync().expect("synced");
    log.save_committed(b"committed 5").expect("noted");
    log.truncate(6).expect("truncated");
    log.append(&(6..10).map(entry).collect::<Vec<_>>()).expect("written");
    log.purge(2, b"purged 2").expect("purged");
    log.save_vote(b"vote two").expect("written");
}

/// The log has had this one format since it is in files of its own, so there is none to migrate from.
#[test]
fn the_log_is_read_and_written_as_ever() {
    let fixture = fixture("log-2", |path| {
        let dir = scratch();
        write_log(dir.path());
        copy(&dir.path().join("log"), path, is_of_the_format);
    });
    let (dir, today) = (scratch(), scratch());
    copy(&fixture, &dir.path().join("log"), |_| true);
    let log = RaftLog::open(dir.path()).expect("open");
    let kept = log.read(0..100).expect("read");
    let expected: Vec<_> = (3..10).map(|index| (index, Bytes::from(format!("entry {index}")))).collect();
    assert_eq!((log.bounds(), kept), (Some((3, 9)), expected));
    let noted = (log.vote(), log.committed(), log.last_purged());
    let bytes = |text: &'static str| Ok(Some(Bytes::from(text)));
    assert_eq!(noted, (bytes("vote two"), bytes("committed 5"), bytes("purged 2")));
    log.append(&[(10, "the next".into())]).expect("it goes on");
    write_log(today.path());
    let (was, is) = (contents(&fixture), contents(&today.path().join("log")));
    let is: Vec<_> = is.into_iter().filter(|(file, _)| is_of_the_format(&file.to_string_lossy())).collect();
    assert!(was == is, "another form: {:?}, {:?}", files(&fixture), files(today.path()));
}

/// What a newer version wrote is refused in these words, and left as it is.
#[test]
fn newer_formats_are_refused() {
    let dir = scratch();
    drop(written(dir.path()));
    write_log(dir.path());
    let refusal = |part: &str, format: &str| {
        let newer = image(dir.path());
        fs::write(newer.path().join(part).join("FORMAT"), format!("{format}\n")).expect("written");
        let before = contents(newer.path());
        let refused = match part {
            "log" => RaftLog::open(newer.path()).err(),
            _ => StateMachine::open(newer.path()).err(),
        };
        assert!(contents(newer.path()) == before, "{part} was written to");
        let path = newer.path().join(part);
        refused.expect("refused").to_string().replace(&*path.to_string_lossy(), "DIR")
    };
    let words = |newer: &str, known: &str| {
        let why = format!("DIR: its format is {newer:?}, this version reads {known}: use the version it is from");
        StoreError::Invalid(why).to_string()
    };
    for newer in ["kontiki state 6", "kontiki state 10"] {
        assert_eq!(refusal("state", newer), words(newer, "kontiki state 5, kontiki state 4, kontiki state 3"));
    }
    assert_eq!(refusal("log", "kontiki raft log 3"), words("kontiki raft log 3", "kontiki raft log 2"));
    assert_eq!(refusal("log", "kontiki raft log 1"), words("kontiki raft log 1", "kontiki raft log 2"));
}
