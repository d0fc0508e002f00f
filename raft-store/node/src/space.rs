//! Room on the disk. A store that cannot write must end, and could not even make room any more; so before that,
//! writes that grow it are refused, and what makes room goes on.
//!
//! The last part of the reserve is a file of its own, given up when others than this replica fill the disk. As long
//! as it is short, what compaction made unreachable is given back to the file system at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::posix_fallocate;
use store_api::{NodeId, Op, StoreError};
use store_core::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::blocking::{beside, blocking};
use crate::exchange::Said;
use crate::replica::Replica;
use crate::state_machine::Effects;

/// How often to look.
const TICK: Duration = Duration::from_secs(1);
/// And after which part of the reserve: an entry is written to the log, to the state, and once more when files of the
/// state become one.
const LOOKS_A_RESERVE: u64 = 16;
/// How often to look for something to give back.
const RECLAIM_TICK: Duration = Duration::from_secs(2);
/// Keys of one garbage-collection step.
const GARBAGE_STEP_KEYS: usize = 4_096;
/// Between tries to give leadership to a replica that has room.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(30);

/// What is left of a disk.
pub(crate) struct Space {
    dir: PathBuf,
    /// Bytes.
    reserve: AtomicU64,
    free: AtomicU64,
    short: AtomicBool,
    /// Bytes of entries since it was last looked at.
    taken: AtomicU64,
    measure: Measure,
}

/// Answers how many bytes are free on the disk of a directory.
type Measure = Box<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// What to do about the ballast.
#[derive(Debug, PartialEq, Eq)]
enum Ballast {
    Keep,
    GiveUp,
    Make,
}

/// Below the reserve it is short; until there is a quarter more it stays so.
fn is_short(free: u64, reserve: u64, was: bool) -> bool {
    free < if was { reserve.saturating_add(reserve / 4) } else { reserve }
}

fn ballast(free: u64, reserve: u64) -> Ballast {
    match free {
        _ if free < reserve / 2 => Ballast::GiveUp,
        _ if free >= reserve.saturating_mul(2) => Ballast::Make,
        _ => Ballast::Keep,
    }
}

/// Whether it leaves more in the store than there was.
fn grows(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => puts(&txn.success) || puts(&txn.failure),
        Command::LeaseGrant { .. } => true,
        Command::LeaseRenew { .. } | Command::LeaseRevoke { .. } | Command::LeasesEnd { .. } => false,
        Command::Compact { .. } | Command::AllocateNodeId { .. } => false,
    }
}

fn puts(ops: &[Op]) -> bool {
    ops.iter().any(|op| match op {
        Op::Put { .. } | Op::Update { .. } => true,
        Op::Txn(nested) => puts(&nested.success) || puts(&nested.failure),
        Op::Delete { .. } | Op::DeleteRange { .. } | Op::Get { .. } | Op::Range(_) => false,
    })
}

/// Whether so many voters are short that without them there is no quorum: more writes would stop them for good.
fn quorum_is_short(me: (NodeId, bool), voters: &[NodeId], said: &BTreeMap<NodeId, Said>) -> bool {
    let short = |id: &&NodeId| match **id == me.0 {
        true => me.1,
        false => said.get(id).is_some_and(|said| said.short_of_space),
    };
    let with_room = voters.len() - voters.iter().filter(short).count();
    with_room * 2 <= voters.len() && !voters.is_empty()
}

impl Space {
    /// Looks at once: the databases need room to open.
    pub(crate) fn open(dir: &Path, reserve: u64, measure: Measure) -> Self {
        let (free, short, taken) = (AtomicU64::default(), AtomicBool::default(), AtomicU64::default());
        let space = Self { dir: dir.into(), reserve: reserve.into(), free, short, taken, measure };
        space.look();
        space
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    /// Bytes free when last looked at.
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Entries of so many bytes are about to be written. A fast disk takes more than the reserve between two ticks, so
    /// it is looked at after a part of the reserve too.
    pub(crate) fn takes(&self, bytes: u64) {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let reserve = self.reserve.load(Ordering::Relaxed);
        if reserve > 0 && taken >= reserve / LOOKS_A_RESERVE {
            self.look();
        }
    }

    pub(crate) fn look(&self) {
        self.taken.store(0, Ordering::Relaxed);
        let reserve = self.reserve.load(Ordering::Relaxed);
        let Ok(free) = (self.measure)(&self.dir) else { return };
        self.free.store(free, Ordering::Relaxed);
        let was = self.is_short();
        let short = is_short(free, reserve, was);
        self.short.store(short, Ordering::Release);
        if short != was {
            tracing::warn!(free, reserve, short, "room on the disk");
        }
        let path = self.dir.join("ballast");
        let done = match ballast(free, reserve) {
            Ballast::GiveUp if path.exists() => fs::remove_file(&path),
            Ballast::Make if reserve > 0 && !path.exists() => make_ballast(&path, reserve / 4),
            _ => return,
        };
        if let Err(error) = done {
            tracing::warn!(%error, path = %path.display(), "the ballast is not as it should be");
        }
    }

    /// Of a disk without end, for tests.
    #[cfg(test)]
    pub(crate) fn boundless() -> Arc<Self> {
        Arc::new(Self::open(Path::new("."), 0, Box::new(|_| Ok(u64::MAX))))
    }

    /// With another reserve, for tests.
    #[cfg(any(test, feature = "test-support"))]
    pub(crate) fn set_reserve(&self, reserve: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
        self.look();
    }
}

fn make_ballast(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    posix_fallocate(&file, 0, bytes.try_into().unwrap_or(i64::MAX))?;
    Ok(())
}

/// Looks again and again, until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut handed_over: Option<Instant> = None;
    loop {
        tick.tick().await;
        blocking(|| replica.space.look());
        let lately = handed_over.is_some_and(|at| at.elapsed() < HAND_OVER_PAUSE);
        if replica.space.is_short() && replica.leads() && !lately {
            handed_over = Some(Instant::now());
            replica.hand_over().await;
        }
    }
}

/// Gives back what became unreachable since the last time, while the disk is short. Otherwise that goes by itself.
pub(crate) async fn reclaim(replica: Arc<Replica>) {
    let mut reclaimed = 0;
    loop {
        tokio::time::sleep(RECLAIM_TICK).await;
        let compacted = replica.effects.engine.compacted();
        if !replica.space.is_short() || compacted == reclaimed {
            continue;
        }
        let (effects, free) = (replica.effects.clone(), replica.space.free());
        match beside(move || give_back(&effects, free)).await {
            Ok(Ok(())) => reclaimed = compacted,
            // Room for it may come.
            Ok(Err(error)) => tracing::warn!(%error, "nothing could be given back to the disk yet"),
            Err(error) => tracing::error!(%error, "giving back ended"),
        }
    }
}

fn give_back(effects: &Effects, free: u64) -> Result<(), StoreError> {
    while effects.engine.collect_garbage(GARBAGE_STEP_KEYS)? {}
    effects.engine.make_durable()?;
    // New files are written before the old ones go. When that could need more than there is, the database does it
    // file by file, in its own time.
    if effects.engine.disk_bytes() < free {
        effects.engine.compact_files();
    }
    Ok(())
}

impl Replica {
    /// Refuses, as leader, what would fill this disk or those of a quorum.
    pub(crate) fn room_for(&self, command: &Command) -> Result<(), StoreError> {
        if !grows(command) {
            return Ok(());
        }
        let short = self.space.is_short();
        if short || self.others_are_short() {
            return Err(StoreError::NoSpace(
                "the disk is nearly full: delete objects, or free some of it; writes go on by themselves then".into(),
            ));
        }
        Ok(())
    }

    fn others_are_short(&self) -> bool {
        let said = self.said.lock();
        // Nearly always, and asked for every write.
        if !said.values().any(|said| said.short_of_space) {
            return false;
        }
        let voters: Vec<NodeId> = self.membership().voter_ids().collect();
        quorum_is_short((self.id(), false), &voters, &said)
    }
}

#[cfg(test)]
mod tests {
    use store_api::{Nested, Txn};

    use super::*;

    #[test]
    fn the_reserve_is_entered_and_left_at_different_marks() {
        let short = |free, was| is_short(free, 100, was);
        assert_eq!(
            [short(100, false), short(99, false), short(124, true), short(125, true)],
            [false, true, true, false]
        );
        assert!(!is_short(0, 0, false) && !is_short(0, 0, true), "no reserve");
        let ballast = |free| ballast(free, 100);
        assert_eq!(
            [ballast(49), ballast(50), ballast(199), ballast(200)],
            [Ballast::GiveUp, Ballast::Keep, Ballast::Keep, Ballast::Make]
        );
    }

    #[test]
    fn what_makes_room_is_no_growth() {
        let put = Op::Put { key: "k".into(), value: "v".into(), lease: 0 };
        let nested = |op| {
            let nested = Nested { failure: vec![op], ..Nested::default() };
            Command::Txn(Txn { success: vec![Op::Txn(Box::new(nested))], ..Txn::default() })
        };
        for (command, want) in [
            (Command::Txn(Txn::put("k", "v")), true),
            (Command::Txn(Txn { failure: vec![put.clone()], ..Txn::default() }), true),
            (Command::LeaseGrant { request: None, id: 0, ttl_ms: 1 }, true),
            (nested(put), true),
            (nested(Op::Delete { key: "k".into() }), false),
            (Command::Txn(Txn::delete("k")), false),
            (Command::LeaseRenew { lease: 1 }, false),
            (Command::LeaseRevoke { lease: 1, only_if_renewals: None }, false),
            (Command::Compact { revision: 1 }, false),
            (Command::AllocateNodeId { request: None }, false),
        ] {
            assert_eq!(grows(&command), want, "{command:?}");
        }
    }

    #[test]
    fn writes_stop_when_a_quorum_would() {
        let short = |me: bool, others: &[NodeId]| {
            let said = |id: &NodeId| (*id, Said::about_space(others.contains(id)));
            quorum_is_short((1, me), &[1, 2, 3], &[2, 3].iter().map(said).collect())
        };
        assert!(!short(false, &[]) && !short(false, &[3]) && !short(true, &[]));
        assert!(short(false, &[2, 3]) && short(true, &[2]));
        assert!(quorum_is_short((1, true), &[1], &BTreeMap::new()));
    }

    #[test]
    fn much_written_at_once_is_noticed_before_the_next_tick() {
        let dir = tempfile::tempdir().expect("a directory");
        let free = Arc::new(AtomicU64::new(200));
        let measured = free.clone();
        let space = Space::open(dir.path(), 160, Box::new(move |_| Ok(measured.load(Ordering::Relaxed))));
        free.store(100, Ordering::Relaxed);
        space.takes(9);
        assert!(!space.is_short(), "not looked at for every entry");
        space.takes(1);
        assert!(space.is_short());
        free.store(300, Ordering::Relaxed);
        space.takes(9);
        assert!(space.is_short(), "counted anew after a look");
    }

    #[test]
    fn the_ballast_is_made_and_given_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let space = Space::open(dir.path(), 1 << 20, Box::new(crate::world::free_bytes));
        assert_eq!(fs::metadata(dir.path().join("ballast")).expect("made").len(), 1 << 18);
        assert!(!space.is_short() && space.free() > 1 << 21);
        space.set_reserve(u64::MAX);
        assert!(space.is_short() && !dir.path().join("ballast").exists());
        space.set_reserve(0);
        assert!(!space.is_short() && !dir.path().join("ballast").exists());
    }
}
