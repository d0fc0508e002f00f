//! The raft log: what it keeps, what it refuses, and what a crash or a bad disk may do to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::image::{contents, files, flip, image, scratch};
use bytes::Bytes;
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

/// The files of records, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let found = files(dir).into_iter().filter(|file| file.extension().is_some_and(|e| e == "log"));
    found.map(|file| dir.join(file)).collect()
}

/// The only file of records.
fn segment(dir: &Path) -> PathBuf {
    let found = segments(dir);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
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
    let synced = fs::metadata(segment(dir.path())).unwrap().len();
    for index in 6..=9 {
        log.append(&[entry(index)]).unwrap();
    }
    let whole = fs::metadata(segment(dir.path())).unwrap().len();
    let mut lengths = std::collections::BTreeSet::new();
    for length in (synced..whole).step_by(5).chain([whole]) {
        let image = image(dir.path());
        cut(&segment(image.path()), length);
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
        cut(&segment(image.path()), length);
        let message = refusal(image.path());
        assert!(message.contains("must be replaced"), "{message}");
    }
}

/// Flips bits all over the files: every one is refused, or changes nothing that was made durable.
#[test]
fn flipped_bits_are_noticed() {
    let dir = scratch();
    {
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
        fs::remove_file(segment(dir.path())).unwrap();
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
    fs::write(dir.path().join("log/FORMAT"), "kontiki raft log 3\n").unwrap();
    let before = contents(dir.path());
    let message = refusal(dir.path());
    assert!(message.contains("\"kontiki raft log 3\"") && message.contains("reads kontiki raft log 2"), "{message}");
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
    assert_eq!(mode("log"), 0o700);
    for file in files(dir.path()) {
        assert_eq!(mode(file.to_str().unwrap()), 0o600, "{}", file.display());
    }
}

/// Changes records as a disk or an administrator might, one at a time.
#[test]
fn records_are_checked_one_by_one() {
    let base = scratch();
    let log = open(base.path());
    // Of the same length, so that one fits in another's place.
    let entry = |index: u64| (index, Bytes::from(format!("entry {index}")));
    log.append(&(1..=6).map(entry).collect::<Vec<_>>()).unwrap();
    log.sync().unwrap();
    log.append(&(7..=9).map(entry).collect::<Vec<_>>()).unwrap();
    let content = fs::read(segment(base.path())).unwrap();
    let record = |index: u64| {
        let text = format!("entry {index}").into_bytes();
        let end = content.windows(text.len()).position(|window| window == text).expect("written") + text.len();
        end - 24..end
    };
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let image = image(base.path());
        let mut content = content.clone();
        change(&mut content);
        fs::write(segment(image.path()), content).unwrap();
        image
    };
    let flipped = |index| changed(&|content| content[record(index).end - 1] ^= 1);
    for index in [3, 6] {
        let message = refusal(flipped(index).path());
        assert!(message.contains(&format!("damaged after entry {}", index - 1)), "{message}");
    }
    assert_eq!(open(flipped(8).path()).bounds(), Some((1, 7)), "an end that was never durable is dropped");

    let moved = changed(&|content| content.copy_within(record(4), record(3).start));
    assert!(refusal(moved.path()).contains("damaged after entry 2"), "an entry in another's place");
    let hole = changed(&|content| drop(content.drain(record(2))));
    assert!(refusal(hole.path()).contains("damaged after entry 1"));
    let shorter = changed(&|content| content.truncate(record(5).start));
    assert!(refusal(shorter.path()).contains("lost acknowledged entries"));

    // Under the feet of a log that is in use.
    fs::write(segment(base.path()), flipped_in(&content, record(3).end - 1)).unwrap();
    assert_eq!(log.read(1..3).unwrap().len(), 2);
    assert!(log.read(1..4).unwrap_err().to_string().contains("damaged at entry 3"));
}

fn flipped_in(content: &[u8], offset: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    content[offset] ^= 1;
    content
}

/// A log of many files, of which the oldest go, and which is refused when one that is needed is not there.
#[test]
fn what_is_purged_leaves_the_disk() {
    const BYTES: usize = 1 << 20;
    let dir = scratch();
    let entry = |index: u64| (index, Bytes::from(vec![index as u8; BYTES]));
    let log = open(dir.path());
    log.save_vote(b"vote").unwrap();
    for index in 1..=60 {
        log.append(&[entry(index)]).unwrap();
        if index == 30 {
            log.sync().unwrap();
            log.truncate(28).unwrap();
            log.append(&(28..=30).map(entry).collect::<Vec<_>>()).unwrap();
        }
    }
    log.sync().unwrap();
    let whole = log.read(1..100).unwrap();
    assert!(whole.len() == 60 && whole.iter().all(|found| *found == entry(found.0)));
    assert_eq!(segments(dir.path()).len(), 4);
    let before = image(dir.path());
    for (to, left) in [(3, 4), (16, 3), (29, 3), (40, 2)] {
        log.purge(to, b"purged").unwrap();
        assert_eq!((segments(dir.path()).len(), log.bounds()), (left, Some((to + 1, 60))), "{to}");
        for log in [&log, &open(image(dir.path()).path())] {
            assert_eq!((log.bounds(), log.vote().unwrap().unwrap()), (Some((to + 1, 60)), Bytes::from("vote")));
            assert_eq!(log.read(0..100).unwrap().len() as u64, 60 - to);
            assert_eq!(log.read(59..60).unwrap(), [entry(59)]);
        }
    }
    assert!(log.disk_bytes() < 34 * BYTES as u64, "{}", log.disk_bytes());
    for missing in 0..4 {
        let image = image(before.path());
        fs::remove_file(&segments(image.path())[missing]).unwrap();
        let message = refusal(image.path());
        assert!(message.contains("lost acknowledged entries"), "file {missing}: {message}");
    }
    // Only the last file may have a torn end.
    let image = image(before.path());
    let first = &segments(image.path())[0];
    cut(first, fs::metadata(first).unwrap().len() - 5);
    assert!(refusal(image.path()).contains("damaged after entry"));
}

/// A crash while the next file is begun.
#[test]
fn a_file_that_was_only_begun_is_begun_again() {
    let dir = scratch();
    let log = open(dir.path());
    log.append(&entries(1..=3)).unwrap();
    log.sync().unwrap();
    let end = fs::metadata(segment(dir.path())).unwrap().len();
    drop(log);
    for content in ["", "to"] {
        fs::write(dir.path().join(format!("log/{end:020}.log")), content).unwrap();
        let log = open(dir.path());
        assert_eq!((log.bounds(), segments(dir.path()).len()), (Some((1, 3)), 1));
    }
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
