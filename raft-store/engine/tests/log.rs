//! The raft log: what it keeps, what it refuses, and what a crash or a bad disk may do to it.

#[path = "support/image.rs"]
mod image;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use image::{contents, files, flip, image, scratch};
use store_api::StoreError;
use store_engine::RaftLog;

/// Flips per file.
const FLIPS: usize = 20;

fn entry(index: u64) -> (u64, Bytes) {
    (index, Bytes::from(format!("entry {index} {}", "x".repeat(index as usize % 40))))
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, Bytes)> {
    range.map(entry).collect()
}

fn open(dir: &Path) -> RaftLog {
    RaftLog::open(dir).expect("open")
}

fn refusal(dir: &Path) -> String {
    match RaftLog::open(dir) {
        Ok(log) => panic!("opened, with {:?}", log.bounds()),
        Err(error) => error.to_string(),
    }
}

/// The one write-ahead log with content.
fn wal(dir: &Path) -> PathBuf {
    let is_wal = |file: &PathBuf| {
        file.extension().is_some_and(|e| e == "log") && fs::metadata(dir.join(file)).is_ok_and(|m| m.len() > 0)
    };
    let found: Vec<PathBuf> = files(dir).into_iter().filter(is_wal).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    dir.join(&found[0])
}

fn cut(file: &Path, length: u64) {
    fs::File::options().write(true).open(file).expect("a file").set_len(length).expect("shorter");
}

#[test]
fn keeps_what_it_is_given() {
    let dir = scratch();
    let log = open(dir.path());
    assert_eq!((log.bounds(), log.vote(), log.committed(), log.last_purged()), (None, Ok(None), Ok(None), Ok(None)));
    log.append(&[]).unwrap();
    log.append(&entries(0..=9)).unwrap();
    assert_eq!(log.read(0..100).unwrap(), entries(0..=9), "readable before it is durable");
    log.sync().unwrap();
    log.save_vote(b"vote").unwrap();
    log.save_committed(b"committed").unwrap();
    log.truncate(8).unwrap();
    log.truncate(8).unwrap();
    log.append(&[(8, Bytes::from("another"))]).unwrap();
    log.purge(2, b"purged").unwrap();
    for log in [log, open(image(dir.path()).path())] {
        assert_eq!(log.bounds(), Some((3, 8)));
        assert_eq!(log.read(0..5).unwrap(), entries(3..=4));
        assert_eq!(log.read(8..9).unwrap(), [(8, Bytes::from("another"))]);
        assert_eq!(log.read(6..6).unwrap(), []);
        assert_eq!(log.vote().unwrap().unwrap(), "vote");
        assert_eq!(log.committed().unwrap().unwrap(), "committed");
        assert_eq!(log.last_purged().unwrap().unwrap(), "purged");
        assert!(log.disk_bytes() > 0);
    }
}

#[test]
fn a_read_stops_when_it_has_enough() {
    let dir = scratch();
    let log = open(dir.path());
    let entry = |index| (index, Bytes::from(vec![b'x'; 100]));
    log.append(&(0..10).map(entry).collect::<Vec<_>>()).unwrap();
    let lengths = [1, 100, 101, 999, 1_001, usize::MAX].map(|bytes| log.read_some(2..8, bytes).unwrap().len());
    assert_eq!(lengths, [1, 1, 2, 6, 6, 6]);
}

#[test]
fn has_no_holes() {
    let dir = scratch();
    let log = open(dir.path());
    let refused = |entries: &[(u64, Bytes)]| matches!(log.append(entries), Err(StoreError::Invalid(_)));
    log.append(&entries(5..=6)).unwrap();
    assert!(refused(&[entry(8)]) && refused(&[entry(6)]) && refused(&[entry(7), entry(9)]));
    assert_eq!(log.bounds(), Some((5, 6)));
    log.purge(20, b"beyond the end").unwrap();
    assert_eq!(log.bounds(), None);
    assert!(refused(&[entry(7)]));
    assert!(matches!(log.purge(19, b"back"), Err(StoreError::Invalid(_))));
    log.append(&[entry(21)]).unwrap();
    log.sync().unwrap();
    log.truncate(0).unwrap();
    drop(log);
    let log = open(dir.path());
    assert_eq!((log.bounds(), log.read(0..u64::MAX)), (None, Ok(vec![])));
    log.append(&[entry(21)]).unwrap();
}

#[test]
fn a_power_cut_takes_at_most_what_was_not_synced() {
    let dir = scratch();
    let log = open(dir.path());
    log.append(&entries(1..=5)).unwrap();
    log.sync().unwrap();
    log.save_vote(b"vote").unwrap();
    let synced = fs::metadata(wal(dir.path())).unwrap().len();
    for index in 6..=9 {
        log.append(&[entry(index)]).unwrap();
    }
    let whole = fs::metadata(wal(dir.path())).unwrap().len();
    let mut lengths = std::collections::BTreeSet::new();
    for length in (synced..whole).step_by(5).chain([whole]) {
        let image = image(dir.path());
        cut(&wal(image.path()), length);
        let log = open(image.path());
        let (first, last) = log.bounds().unwrap();
        assert!(first == 1 && last >= 5, "{first} to {last}");
        assert_eq!(log.read(0..100).unwrap(), entries(1..=last));
        lengths.insert(last);
        log.append(&[entry(last + 1)]).unwrap();
    }
    assert_eq!(lengths, (5..=9).collect());
    for length in (0..synced).step_by(17).chain([synced - 1]) {
        let image = image(dir.path());
        cut(&wal(image.path()), length);
        let message = refusal(image.path());
        assert!(message.contains("must be replaced") || message.contains("cannot be opened"), "{message}");
    }
}

/// Flips bits all over the files: every one is refused, or changes nothing that was made durable.
#[test]
fn flipped_bits_are_noticed() {
    let dir = scratch();
    {
        // Opened twice, so that there are table files too.
        let log = open(dir.path());
        log.append(&entries(1..=50)).unwrap();
        log.sync().unwrap();
        drop(log);
        let log = open(dir.path());
        log.append(&entries(51..=60)).unwrap();
        log.truncate(60).unwrap();
        log.purge(3, b"purged").unwrap();
        log.save_vote(b"vote").unwrap();
    }
    let (mut refused, mut harmless) = (0, 0);
    for file in files(dir.path()) {
        let length = fs::metadata(dir.path().join(&file)).unwrap().len() as usize;
        for n in 0..length.min(FLIPS) {
            let offset = n * length / length.min(FLIPS);
            let image = image(dir.path());
            flip(&image.path().join(&file), offset, (n % 8) as u8);
            match RaftLog::open(image.path()) {
                Err(_) => refused += 1,
                Ok(log) => {
                    let all = log.read(0..100);
                    let same = all.as_ref() == Ok(&entries(4..=59)) && log.vote() == Ok(Some(Bytes::from("vote")));
                    let whole = same && log.last_purged() == Ok(Some(Bytes::from("purged")));
                    assert!(whole, "{}, byte {offset}: {:?}", file.display(), log.bounds());
                    harmless += 1;
                }
            }
        }
    }
    println!("{refused} flips refused, {harmless} harmless");
    assert!(refused > FLIPS, "{refused} of {}", refused + harmless);
}

#[test]
fn a_damaged_or_missing_mark_refuses() {
    let dir = scratch();
    open(dir.path()).append(&entries(1..=2)).unwrap();
    let mark = dir.path().join("log/MARK");
    let content = fs::read(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    assert!(refusal(dir.path()).contains("MARK: missing"));
    fs::write(&mark, b"short").unwrap();
    assert!(refusal(dir.path()).contains("MARK"));
    fs::write(&mark, content).unwrap();
    assert_eq!(open(dir.path()).bounds(), Some((1, 2)));
}

#[test]
fn a_first_start_that_was_interrupted_is_begun_again() {
    for keep in ["LOCK", "FORMAT.tmp", "FORMAT", "MARK.tmp", "MARK"] {
        let dir = scratch();
        drop(open(dir.path()));
        fs::remove_dir_all(dir.path().join("log/db")).unwrap();
        for file in
            ["MARK", "FORMAT"].iter().filter(|file| **file != keep && !(**file == "FORMAT" && keep.starts_with("MARK")))
        {
            fs::remove_file(dir.path().join("log").join(file)).unwrap();
        }
        if keep.ends_with("tmp") {
            fs::write(dir.path().join("log").join(keep), "torn").unwrap();
        }
        assert_eq!(open(dir.path()).bounds(), None, "{keep}");
    }
}

#[test]
fn another_format_is_refused_untouched() {
    let dir = scratch();
    open(dir.path()).append(&entries(1..=2)).unwrap();
    fs::write(dir.path().join("log/FORMAT"), "kontiki raft log 2\n").unwrap();
    let before = contents(dir.path());
    let message = refusal(dir.path());
    assert!(message.contains("\"kontiki raft log 2\"") && message.contains("\"kontiki raft log 1\""), "{message}");
    assert!(contents(dir.path()) == before, "nothing was written");
    fs::remove_file(dir.path().join("log/FORMAT")).unwrap();
    assert!(refusal(dir.path()).contains("FORMAT"), "a directory that is not ours is left alone");
}

#[test]
fn one_process_at_a_time() {
    let dir = scratch();
    let log = open(dir.path());
    assert!(refusal(dir.path()).contains("another process is using this data directory"));
    drop(log);
    open(dir.path());
}

#[test]
fn only_the_owner_can_read_it() {
    let dir = scratch();
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::set_permissions(dir.path().join("log"), fs::Permissions::from_mode(0o755)).unwrap();
    let _log = open(dir.path());
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("log"), mode("log/db")), (0o700, 0o700));
    assert_eq!((mode("log/MARK"), mode("log/LOCK"), mode("log/FORMAT")), (0o600, 0o600, 0o600));
}

/// Changes records as RocksDB never would: a bad block that passes its checksum, a bug, an administrator.
#[test]
fn entries_are_checked_one_by_one() {
    let base = scratch();
    let log = open(base.path());
    log.append(&entries(1..=6)).unwrap();
    log.sync().unwrap();
    log.append(&entries(7..=9)).unwrap();
    drop(log);
    let key = |index: u64| [&b"e"[..], &index.to_be_bytes()].concat();
    let changed = |change: &dyn Fn(&rocksdb::DB)| {
        let image = image(base.path());
        change(&rocksdb::DB::open_default(image.path().join("log/db")).unwrap());
        image
    };
    let corrupt = |index| {
        changed(&|db| {
            let mut value = db.get(key(index)).unwrap().unwrap();
            value[7] ^= 1;
            db.put(key(index), value).unwrap();
        })
    };
    assert!(refusal(corrupt(3).path()).contains("damaged at entry 3"));
    assert!(refusal(corrupt(6).path()).contains("damaged at entry 6"));
    assert_eq!(open(corrupt(8).path()).bounds(), Some((1, 7)), "an end that was never durable is dropped");

    let swapped = changed(&|db| db.put(key(3), db.get(key(4)).unwrap().unwrap()).unwrap());
    assert!(refusal(swapped.path()).contains("damaged at entry 3"), "an entry in another's place");
    assert!(refusal(changed(&|db| db.delete(key(2)).unwrap()).path()).contains("hole"));
    let shorter = changed(&|db| (5..=9).for_each(|n| db.delete(key(n)).unwrap()));
    assert!(refusal(shorter.path()).contains("lost acknowledged entries"));
    let vote = changed(&|db| db.put(b"v", b"no checksum").unwrap());
    assert!(open(vote.path()).vote().is_err());

    let log = open(base.path());
    log.truncate(9).unwrap();
    log.sync().unwrap();
    log.append(&[(9, Bytes::from("another 9"))]).unwrap();
    let read = log.read(0..100).unwrap();
    assert_eq!((read.len(), &read[8]), (9, &(9, Bytes::from("another 9"))));
}

/// After a power cut the mark may be low. It is set right, so that it guards what came before too.
#[test]
fn a_mark_that_is_low_is_raised() {
    let dir = scratch();
    let log = open(dir.path());
    let mark = dir.path().join("log/MARK");
    log.append(&entries(1..=2)).unwrap();
    let low = fs::read(&mark).unwrap();
    log.sync().unwrap();
    log.save_vote(b"vote").unwrap();
    let exact = fs::read(&mark).unwrap();
    drop(log);
    fs::write(&mark, &low).unwrap();
    let log = open(dir.path());
    assert!(low != exact && fs::read(&mark).unwrap() == exact);
    assert_eq!((log.bounds(), log.vote()), (Some((1, 2)), Ok(Some(Bytes::from("vote")))));
}
