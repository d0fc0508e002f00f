//! The log between memory and disk: what is read is what there is, or an error.

use openraft::EntryPayload;
use openraft::type_config::TypeConfigExt;
use tempfile::TempDir;

use super::*;
use crate::Held;
use crate::types::LogCommand;

fn log_id(index: u64) -> LogId {
    codec::log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index })
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(LogCommand(vec![b'x'; bytes].into())) }
}

fn entries(range: Range<u64>, bytes: usize) -> Vec<Entry> {
    range.map(|index| entry(index, bytes)).collect()
}

fn open(dir: &TempDir) -> LogStore {
    let log = RaftLog::open(dir.path()).expect("a log");
    LogStore::open(Arc::new(log), None, None, Space::boundless(), Held::ALONE.entries).expect("a log store")
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (done, wait) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(done)).await.expect("appended");
    wait.await.expect("answered").expect("written");
}

/// Lets go of everything in memory that is on disk.
fn forget(store: &LogStore) {
    store.shared.memory.lock().forget_written();
}

fn indexes(read: Result<Vec<Entry>, io::Error>) -> Result<Vec<u64>, String> {
    let read = read.map_err(|error| error.to_string())?;
    Ok(read.iter().map(|entry| entry.log_id.index()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_has_about_as_many_bytes_as_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(&dir);
    append(&mut store, entries(0..20, 1_500_000)).await;
    let count = |store: &LogStore, start| {
        let read = store.shared.read(start, 20, READ_BYTES).expect("read");
        assert!(read.iter().zip(start..).all(|(entry, index)| entry.log_id.index() == index));
        read.len()
    };
    // From memory, from disk, and from both.
    assert_eq!(count(&store, 3), 3);
    forget(&store);
    assert_eq!(count(&store, 3), 3);
    append(&mut store, entries(20..21, 10)).await;
    assert_eq!((count(&store, 18), count(&store, 19), count(&store, 20)), (2, 1, 0));
    assert_eq!(indexes(store.shared.read(18, 21, READ_BYTES)), Ok(vec![18, 19, 20]));
}

/// A flush that ends behind a truncation says what is true no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_for_written_that_was_truncated() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(&dir);
    append(&mut store, entries(0..10, 10)).await;
    for round in 0..20 {
        store.append(entries(10..40, 10_000), IOFlushed::noop()).await.expect("appended");
        store.truncate_after(Some(log_id(9))).await.expect("truncated");
        assert_eq!(store.shared.memory.lock().unwritten(), 10, "round {round}");
    }
    append(&mut store, entries(10..12, 10)).await;
    forget(&store);
    assert_eq!(indexes(store.shared.read(0, 100, usize::MAX)), Ok((0..12).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_an_error_and_what_was_purged_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(&dir);
    append(&mut store, entries(0..10, 10)).await;
    forget(&store);
    store.purge(log_id(1)).await.expect("purged");
    assert_eq!(indexes(store.shared.read(0, 10, usize::MAX)), Ok((2..10).collect()));
    append(&mut store, entries(10..12, 10)).await;
    // Somebody took the end of what is on disk away.
    store.shared.log.truncate(6).expect("truncated");
    let hole = Err("the log has a hole: of the entries 2..10 on disk it holds Some((2, 5))".to_owned());
    assert_eq!(indexes(store.shared.read(0, 12, usize::MAX)), hole);
    let nothing = Err("the log has a hole: of the entries 7..10 on disk it holds None".to_owned());
    assert_eq!(indexes(store.shared.read(7, 12, usize::MAX)), nothing);
    assert_eq!(indexes(store.shared.read(10, 12, usize::MAX)), Ok(vec![10, 11]));
}

/// Entries that a leader had committed elsewhere may be lost here by a crash before they were durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counts_as_committed_that_the_log_does_not_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(&dir);
    append(&mut store, entries(0..4, 10)).await;
    store.save_committed(Some(log_id(3))).await.expect("saved");
    drop(store);
    let mut store = open(&dir);
    assert_eq!(store.read_committed().await.expect("read"), Some(log_id(3)));
    store.shared.log.save_committed(&codec::log_id_to_bytes(&log_id(9))).expect("saved");
    drop(store);
    assert_eq!(open(&dir).read_committed().await.expect("read"), Some(log_id(3)));
}
