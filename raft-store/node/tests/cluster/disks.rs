//! Disks that lose the end of a log, flip bits, fill up or keep something else: what is read is right, or nothing is.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use store_api::{NodeId, Op, ReadAt, Store, StoreError, Txn};
use store_core::Command;
use store_engine::{ApplyEntry, ApplyPayload, RaftLog, StateMachine};
use store_node::test_support::{Cluster, Options, PATIENCE};

use crate::support::{get, patiently, put, read_all, snapshots_every};

/// A replica applies what a quorum has, perhaps before its own log is durable: a crash leaves the state ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_ahead_of_its_log_leads_a_replica_that_is_behind() {
    let mut cluster = Cluster::start_with(3, Options { snapshot_entries: 40, ..Options::default() }).await;
    for n in 0..60 {
        put(&cluster.store(1), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    let (behind, ahead) = (3, 1);
    cluster.kill(behind).await;
    for n in 60..65 {
        put(&cluster.store(ahead), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    let last = cluster.store(ahead).status().last_log_index;
    cluster.kill(2).await;
    cluster.kill(ahead).await;
    let log = patiently(|| RaftLog::open(cluster.data_dir(ahead)));
    log.truncate(last).expect("truncated");
    drop(log);
    cluster.restart(ahead).await;
    cluster.restart(behind).await;
    cluster.store(behind).wait_ready(PATIENCE).await.expect("caught up");
    read_all(&cluster.store(behind), 65).await;
    cluster.restart(2).await;
    cluster.converge().await;
}

/// A snapshot file is made for whom it is needed, and nobody keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_files_go_when_they_are_installed() {
    let mut cluster = Cluster::start_with(3, snapshots_every(50)).await;
    let behind = cluster.follower().await;
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    for n in 0..300 {
        put(&cluster.store(leader), &format!("k{n}"), &n.to_string()).await;
    }
    let files = |cluster: &Cluster| -> usize {
        let listed = |id| std::fs::read_dir(cluster.data_dir(id).join("snapshots")).expect("listed").count();
        cluster.ids().into_iter().map(listed).sum()
    };
    assert_eq!(files(&cluster), 0, "300 writes needed none");
    cluster.restart(behind).await;
    cluster.store(behind).wait_ready(PATIENCE).await.expect("caught up");
    read_all(&cluster.store(behind), 300).await;
    cluster.converge().await;
    let started = Instant::now();
    while files(&cluster) > 0 {
        assert!(started.elapsed() < PATIENCE, "{} files are left", files(&cluster));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Few entries, and large ones: neither the log nor the history may fill the disk before their number does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_history_are_bounded_in_bytes_too() {
    const OBJECTS: u64 = 60;
    let options = Options { log_bytes: 10 << 20, history_bytes: 10 << 20, ..Options::default() };
    let mut cluster = Cluster::start_with(1, options).await;
    let store = cluster.store(1);
    for n in 0..OBJECTS {
        store.txn(Txn::put("large", vec![n as u8; 1 << 20])).await.expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is looked at once a second, so some more are left than fit.
    let started = Instant::now();
    while store.status().compacted_revision < OBJECTS / 3 {
        assert!(started.elapsed() < PATIENCE, "compacted up to {} only", store.status().compacted_revision);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.get(b"large", ReadAt::Local).await.expect("read").kv.map(|kv| kv.version), Some(OBJECTS));
    // The log is purged a little later, and what is purged is seen on disk.
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(store);
    cluster.kill(1).await;
    let bounds = patiently(|| RaftLog::open(cluster.data_dir(1))).bounds();
    let (first, last) = bounds.expect("entries");
    println!("the log holds {first} to {last}");
    assert!(last >= OBJECTS && first > OBJECTS - 30, "{first} to {last}");
}

/// A disk that fills up stops what grows the store, not what makes room, and all goes on when there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_grows_the_store_only() {
    let mut cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let store = cluster.store(follower);
    let revision = put(&store, "a", "1").await;
    let lease = store.lease_grant(Duration::from_secs(60)).await.expect("granted");
    for id in cluster.ids() {
        cluster.set_reserve(id, u64::MAX);
    }
    for id in [leader, follower] {
        let refused = cluster.store(id).txn(Txn::put("b", "2")).await;
        assert!(matches!(refused, Err(StoreError::NoSpace(_))), "{refused:?}");
    }
    store.lease_renew(lease).await.expect("renewed");
    store.lease_revoke(lease).await.expect("ended");
    store.txn(Txn::delete("a")).await.expect("deleted");
    store.compact(revision).await.expect("compacted");
    let id = store.allocate_node_id().await.expect("an id");
    cluster.add_node(id).await;
    store.add_member(cluster.member(id, false), false).await.expect("added");
    for id in cluster.ids() {
        cluster.set_reserve(id, 0);
    }
    put(&store, "b", "2").await;
    cluster.converge().await;
}

/// One of three replicas applied something else than the others, whatever the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_state_differs_is_fenced_off() {
    let mut cluster = Cluster::start(3).await;
    let wrong = cluster.follower().await;
    put(&cluster.store(1), "a", "1").await;
    cluster.converge().await;
    cluster.kill(wrong).await;
    let state = patiently(|| StateMachine::open(cluster.data_dir(wrong)));
    let (log_id, _) = state.last_applied().expect("a position");
    let log_id = kontiki_proto::log::LogId::decode(log_id.expect("applied").as_ref()).expect("a log id");
    let log_id = kontiki_proto::log::LogId { index: log_id.index + 1, ..log_id };
    let payload = ApplyPayload::Command(Command::Txn(Txn::put("a", "wrong")));
    let entry = ApplyEntry { index: log_id.index, log_id: log_id.encode_to_vec().into(), payload };
    state.apply(&[entry]).expect("applied");
    drop(state);
    let right = cluster.leader_among_others(wrong).await;
    put(&cluster.store(right), "a", "right").await;
    cluster.restart(wrong).await;
    let started = Instant::now();
    let differs = |health: Result<(), String>| health.is_err_and(|why| why.contains("is fenced off"));
    while !differs(cluster.store(wrong).health()) {
        put(&cluster.store(right), "b", "1").await;
        assert!(started.elapsed() < PATIENCE, "still {:?}", cluster.store(wrong).health());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("fenced off after {:?}", started.elapsed());
    // It knows it also when it is started again, before it has heard of anyone.
    cluster.kill(wrong).await;
    cluster.restart(wrong).await;
    assert!(differs(cluster.store(wrong).health()));
    let read = get(&cluster.store(wrong), "a", ReadAt::Local).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert_eq!(cluster.store(right).health(), Ok(()));
    assert_eq!(get(&cluster.store(right), "a", ReadAt::Linearizable).await, Ok(Some("right".into())));
}

/// What detection promises, however busy the machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Changes the newest value of `key` on a disk, as no replica would notice by itself.
fn falsify(dir: &Path, key: &str) {
    falsify_record(dir, &[b"v", key.as_bytes(), &[0, 1]].concat());
}

/// Changes the first record that begins so, checksums and all.
fn falsify_record(dir: &Path, prefix: &[u8]) {
    let pointer = std::fs::read_to_string(dir.join("state/CURRENT")).expect("a pointer");
    let number = pointer.lines().next().and_then(|line| line.strip_prefix("generation ")).expect("a generation");
    let db = patiently(|| {
        let options = rocksdb::Options::default();
        let path = dir.join(format!("state/db-{number}"));
        rocksdb::DB::open(&options, path).map_err(|error| StoreError::Fatal(error.to_string()))
    });
    let mut iterator = db.raw_iterator();
    iterator.seek(prefix);
    let (found, value) = iterator.item().expect("a record");
    assert!(found.starts_with(prefix), "{found:?} is another record");
    let (found, mut value) = (found.to_vec(), value.to_vec());
    *value.last_mut().expect("a value") ^= 1;
    db.put(found, value).expect("written");
    db.flush().expect("flushed");
}

/// Nothing is written, nothing is read: the disk of one replica has changed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_changed_on_disk_is_noticed_within_a_minute() {
    let mut cluster = Cluster::start(3).await;
    let wrong = cluster.follower().await;
    for n in 0..50 {
        put(&cluster.store(1), &format!("k{n}"), &n.to_string()).await;
    }
    cluster.converge().await;
    cluster.kill(wrong).await;
    falsify(cluster.data_dir(wrong), "k7");
    cluster.restart(wrong).await;
    let started = Instant::now();
    while cluster.store(wrong).health().err().is_none_or(|why| !why.contains("is fenced off")) {
        assert!(started.elapsed() < NOTICED_WITHIN, "not noticed: {:?}", cluster.store(wrong).health());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("noticed after {:?}", started.elapsed());
    let read = get(&cluster.store(wrong), "k7", ReadAt::Local).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    for id in cluster.ids().into_iter().filter(|id| *id != wrong) {
        assert_eq!(get(&cluster.store(id), "k7", ReadAt::Linearizable).await, Ok(Some("7".into())));
        assert_eq!((cluster.store(id).health(), cluster.store(id).doubt()), (Ok(()), None));
    }
}

/// What no key holds is compared as well: two of five replicas are wrong, each in its own way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_and_an_event_that_changed_on_disk_are_noticed_within_a_minute() {
    let mut cluster = Cluster::start(5).await;
    let leader = cluster.leader().await;
    let store = cluster.store(leader);
    let lease = store.lease_grant(Duration::from_secs(600)).await.expect("granted");
    let held = Op::Put { key: "held".into(), value: "v".into(), lease };
    store.txn(Txn { success: vec![held], ..Txn::default() }).await.expect("written");
    for n in 0..20 {
        put(&store, &format!("k{n}"), &n.to_string()).await;
    }
    drop(store);
    cluster.converge().await;
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let wrong = [(others[0], b"l"), (others[1], b"g")];
    for (id, kind) in wrong {
        cluster.kill(id).await;
        falsify_record(cluster.data_dir(id), kind);
        cluster.restart(id).await;
    }
    let started = Instant::now();
    let is_fenced = |id| cluster.store(id).health().is_err_and(|why| why.contains("is fenced off"));
    while !wrong.iter().all(|(id, _)| is_fenced(*id)) {
        assert!(started.elapsed() < NOTICED_WITHIN, "not noticed: {:?}", wrong.map(|(id, _)| is_fenced(id)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("noticed after {:?}", started.elapsed());
    for id in [leader, others[2], others[3]] {
        assert_eq!((cluster.store(id).health(), cluster.store(id).doubt()), (Ok(()), None), "replica {id}");
    }
    read_all(&cluster.store(leader), 20).await;
}

/// Of two replicas that differ nobody can tell which is wrong: both say so, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_against_one_is_reported() {
    let mut cluster = Cluster::start(2).await;
    put(&cluster.store(1), "a", "1").await;
    cluster.converge().await;
    cluster.kill(2).await;
    falsify(cluster.data_dir(2), "a");
    cluster.restart(2).await;
    let started = Instant::now();
    while cluster.ids().into_iter().any(|id| cluster.store(id).doubt().is_none()) {
        assert!(started.elapsed() < NOTICED_WITHIN, "not reported");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let doubt = cluster.store(1).doubt().expect("a doubt");
    assert!(doubt.contains("differs from that of replica 2"), "{doubt}");
    put(&cluster.store(2), "b", "2").await;
    assert_eq!(cluster.store(1).health(), Ok(()));
}

/// All files of a state, to be put back.
fn keep_state(dir: &Path) -> tempfile::TempDir {
    let kept = tempfile::tempdir().expect("a directory");
    copy(&dir.join("state"), kept.path());
    kept
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("listed").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

/// Overwrites a part of each table file, in the middle of the values.
fn damage_tables(dir: &Path) {
    use std::os::unix::fs::FileExt;
    let databases = std::fs::read_dir(dir.join("state")).expect("listed").flatten().map(|entry| entry.path());
    let files =
        databases.filter(|path| path.is_dir()).flat_map(|path| std::fs::read_dir(path).expect("listed").flatten());
    let tables = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|of| of == "sst"));
    let mut damaged = 0;
    for path in tables {
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        let length = file.metadata().expect("its length").len();
        file.write_all_at(&[0xa5; 512], length / 2).expect("written");
        damaged += 1;
    }
    assert!(damaged > 0, "there are no table files in {}", dir.display());
}

const DAMAGED_KEYS: u64 = 60;

/// Whoever applies these reads the versions that are there.
async fn put_all(cluster: &Cluster, id: NodeId, round: u64) {
    for n in 0..DAMAGED_KEYS {
        let value = noise(round * 1_000 + n + 1, 2_000);
        cluster.store(id).txn(Txn::put(format!("k{n}"), value)).await.expect("written");
    }
}

/// It runs without a voice, and the others do not miss it.
async fn stays_fenced_off(cluster: &mut Cluster, wrong: NodeId) {
    for again in [false, true] {
        if again {
            cluster.kill(wrong).await;
            cluster.restart(wrong).await;
        }
        let started = Instant::now();
        while cluster.store(wrong).health().err().is_none_or(|why| !why.contains("is fenced off")) {
            assert!(started.elapsed() < PATIENCE, "still {:?}", cluster.store(wrong).health());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let why = std::fs::read_to_string(cluster.data_dir(wrong).join("fenced")).expect("written down");
        println!("fenced off after {:?}: {why}", started.elapsed());
        let read = get(&cluster.store(wrong), "k1", ReadAt::Local).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        let right = cluster.leader_among_others(wrong).await;
        put(&cluster.store(right), "k1", "right").await;
        assert_eq!(get(&cluster.store(right), "k1", ReadAt::Linearizable).await, Ok(Some("right".into())));
        assert_eq!(cluster.store(right).health(), Ok(()));
        // Long enough for it to be told that there is more to apply.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(cluster.store(wrong).status().members.len() == 3, "it answers");
    }
}

/// What it would have to read to apply an entry is damaged. Were it to end, it would do so at every start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_apply_stays_up_without_a_voice() {
    let mut cluster = Cluster::start(3).await;
    put_all(&cluster, 1, 0).await;
    cluster.converge().await;
    let wrong = cluster.follower().await;
    cluster.kill(wrong).await;
    damage_tables(cluster.data_dir(wrong));
    cluster.restart(wrong).await;
    let right = cluster.leader_among_others(wrong).await;
    put_all(&cluster, right, 1).await;
    stays_fenced_off(&mut cluster, wrong).await;
}

/// The same of entries that are applied at the start, because the log says that they are committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_apply_at_its_start_starts_without_a_voice() {
    let mut cluster = Cluster::start(3).await;
    put_all(&cluster, 1, 0).await;
    cluster.converge().await;
    let wrong = cluster.follower().await;
    cluster.kill(wrong).await;
    let kept = keep_state(cluster.data_dir(wrong));
    cluster.restart(wrong).await;
    let right = cluster.leader_among_others(wrong).await;
    put_all(&cluster, right, 1).await;
    cluster.converge().await;
    cluster.kill(wrong).await;
    // As after a crash of the machine: the state is not as far as the log.
    let state = cluster.data_dir(wrong).join("state");
    patiently(|| StateMachine::open(cluster.data_dir(wrong)).map(drop));
    std::fs::remove_dir_all(&state).expect("removed");
    copy(kept.path(), &state);
    damage_tables(cluster.data_dir(wrong));
    cluster.restart(wrong).await;
    assert!(cluster.store(wrong).health().is_err_and(|why| why.contains("is fenced off")), "from the start on");
    stays_fenced_off(&mut cluster, wrong).await;
}

/// A file system of its own, in memory; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` with a word where it cannot be had.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let size = format!("size={mib}m");
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some(size.as_str())) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                println!("skipped: a small file system cannot be mounted here: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the databases close a moment after their last owner has gone.
        if let Err(error) = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.path().display());
        }
    }
}

/// Nobody's clever compression makes it smaller.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(next).collect()
}

/// A disk that is really full: writes are turned away before it is, and objects can still be deleted, after which it
/// recovers without anybody's doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_fills_up_and_recovers_by_itself() {
    const OBJECT: usize = 512 << 10;
    const MAX_OBJECTS: u64 = 2_000;
    let Some(disk) = SmallDisk::mount(512) else { return };
    let options = Options {
        reserve_bytes: 192 << 20,
        log_bytes: 16 << 20,
        history: Duration::from_secs(2),
        parent: disk.0.path().to_owned(),
        ..Options::default()
    };
    let cluster = Cluster::start_with(1, options).await;
    let store = cluster.store(1);
    let mut written = 0;
    let refused = loop {
        assert!(written < MAX_OBJECTS, "the disk does not fill up");
        match store.txn(Txn::put(format!("k{written}"), noise(written, OBJECT))).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("full after {written} objects: {refused}");
    assert!(matches!(&refused, StoreError::NoSpace(why) if why.contains("nearly full")), "{refused:?}");
    assert!(written > 100, "the store had room for more than {written}");
    let found = store.get(b"k7", ReadAt::Linearizable).await.expect("read").kv.expect("kept");
    assert_eq!(found.value, noise(7, OBJECT), "what was acknowledged is kept, and reads go on");
    for n in 0..written - 10 {
        store.txn(Txn::delete(format!("k{n}"))).await.expect("deleted");
    }
    let started = Instant::now();
    while let Err(error) = store.txn(Txn::put("again", noise(0, OBJECT))).await {
        assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");
        assert!(started.elapsed() < 2 * PATIENCE, "it does not recover");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("writes go on after {:?}", started.elapsed());
    let last = written - 1;
    let found = store.get(format!("k{last}").as_bytes(), ReadAt::Linearizable).await.expect("read").kv.expect("kept");
    assert_eq!(found.value, noise(last, OBJECT));
}
