//! Reading all that is kept, again and again, and comparing it with the others: a replica whose disk changed behind its
//! back must be noticed before somebody reads there.
//!
//! The leader puts a mark into the log now and then. Every member hashes all it holds as of that entry, beside all else,
//! and they compare when they tell each other how they are ([`crate::exchange`]).
//!
//! Versions before knew no marks: their leader names a revision, and every member hashes what its keys hold at it. That
//! is still done as long as a member is heard that knows no other way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store_api::{LeaseId, Revision, StoreError};
use store_core::Command;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::blocking::behind;
use crate::codec;
use crate::replica::Replica;
use crate::state_machine::Effects;
use crate::types::LogCommand;

/// How all that is held is hashed. Another number is another way, and their hashes are not compared.
pub(crate) const SCRUB: u32 = 1;
/// Between the end of one scan and the beginning of the next, and between two marks.
const PAUSE: Duration = Duration::from_secs(10);
/// Until a mark must be in the log.
const MARK_TIMEOUT: Duration = Duration::from_secs(1);
/// Hashes that are kept, for those who are slower.
const KEPT: usize = 4;
/// No lease has this id.
const NO_LEASE: LeaseId = 0;
/// Until a revision that the leader has must be applied here.
const CATCH_UP: Duration = Duration::from_secs(30);

/// An entry that changes nothing: with it the log says where all is to be read. To versions that do not know of it, it
/// is the end of no lease, and they apply it to the same effect.
fn mark() -> Command {
    Command::LeasesEnd { leases: vec![(NO_LEASE, 0)] }
}

pub(crate) fn is_mark(command: &Command) -> bool {
    matches!(command, Command::LeasesEnd { leases } if matches!(leases[..], [(NO_LEASE, _)]))
}

/// Of all that was held after the mark at `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) index: u64,
    pub(crate) hash: u64,
}

/// Whether two replicas held the same, as far as they hashed it after the same marks.
pub(crate) fn compare(mine: &[Whole], its: &[Whole]) -> Option<bool> {
    let of = |index| its.iter().find(|its| its.index == index);
    mine.iter().filter_map(|mine| Some(of(mine.index)?.hash == mine.hash)).min()
}

/// What is to be hashed by the way of versions before. Numbered, because nothing may have been written since the last
/// time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) term: u64,
    pub(crate) number: u64,
    pub(crate) revision: Revision,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) round: Round,
    pub(crate) hash: u64,
}

pub(crate) struct Scrub {
    wanted: watch::Sender<Round>,
    last: Mutex<Option<Content>>,
    whole: Mutex<VecDeque<Whole>>,
    /// A scan from a mark on is under way.
    scanning: AtomicBool,
    /// Scans that came to their end.
    scans: AtomicU64,
    ended: Mutex<Option<Instant>>,
    /// When this replica wrote a mark last.
    marked: Mutex<Option<Instant>>,
    /// What could not be read.
    damage: Mutex<Option<String>>,
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(Round::default()),
            last: Mutex::default(),
            whole: Mutex::default(),
            scanning: AtomicBool::new(false),
            scans: AtomicU64::new(0),
            ended: Mutex::default(),
            marked: Mutex::default(),
            damage: Mutex::default(),
        }
    }
}

impl Scrub {
    /// The round that the leader is in.
    pub(crate) fn round(&self) -> Round {
        *self.wanted.borrow()
    }

    pub(crate) fn last(&self) -> Option<Content> {
        *self.last.lock()
    }

    /// The newest ones, oldest first.
    pub(crate) fn whole(&self) -> Vec<Whole> {
        self.whole.lock().iter().copied().collect()
    }

    /// How often all was read since the start.
    pub(crate) fn scans(&self) -> u64 {
        self.scans.load(Ordering::Acquire)
    }

    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.lock().clone()
    }

    /// A read found that the disk does not hold what was written.
    pub(crate) fn found_damage(&self, why: &str) {
        self.damage.lock().get_or_insert_with(|| why.to_owned());
    }

    /// What the leader asks for. Begins when the round before has ended.
    pub(crate) fn ask(&self, round: Round) {
        self.wanted.send_if_modified(|wanted| {
            let newer = (round.term, round.number) > (wanted.term, wanted.number);
            if newer {
                *wanted = round;
            }
            newer
        });
    }

    /// As leader of some who know no marks: begins another round when the last one ended a while ago.
    pub(crate) fn lead(&self, term: u64, revision: Revision, now: Instant) {
        if let Some(round) = next(self.round(), term, revision, *self.ended.lock(), now) {
            self.ask(round);
        }
    }

    /// Whether a leader writes a mark now; if so, it is taken to have done it.
    fn is_due(&self, now: Instant) -> bool {
        let rested =
            |at: &Mutex<Option<Instant>>| at.lock().is_none_or(|at| now.saturating_duration_since(at) >= PAUSE);
        let due = !self.scanning.load(Ordering::Acquire) && rested(&self.ended) && rested(&self.marked);
        if due {
            *self.marked.lock() = Some(now);
        }
        due
    }

    fn finish(&self, index: u64, started: Instant, hash: Result<u64, StoreError>) {
        match hash {
            Ok(hash) => {
                let mut whole = self.whole.lock();
                whole.push_back(Whole { index, hash });
                while whole.len() > KEPT {
                    whole.pop_front();
                }
                self.scans.fetch_add(1, Ordering::AcqRel);
                metrics::gauge!("kontiki_store_scrub_duration_seconds").set(started.elapsed().as_secs_f64());
            }
            Err(StoreError::Fatal(why)) => self.found_damage(&why),
            Err(error) => tracing::error!(%error, "what this replica holds could not be hashed"),
        }
        *self.ended.lock() = Some(Instant::now());
        self.scanning.store(false, Ordering::Release);
    }
}

fn next(current: Round, term: u64, revision: Revision, ended: Option<Instant>, now: Instant) -> Option<Round> {
    let begun = current != Round::default();
    let due = match ended {
        Some(ended) => now.saturating_duration_since(ended) >= PAUSE,
        // The first one, or one that has not ended.
        None => !begun,
    };
    let number = if term == current.term { current.number + 1 } else { 1 };
    (due || term > current.term).then_some(Round { term, number, revision })
}

impl Replica {
    /// As leader: writes a mark when the last scan ended a while ago. Not on a disk that is nearly full.
    pub(crate) async fn mark_when_due(&self) {
        if self.space.is_short() || !self.scrub.is_due(Instant::now()) {
            return;
        }
        let entry = LogCommand(codec::command_to_bytes(&mark()));
        // One that does not get there in time may still, and whoever leads then writes the next.
        if let Ok(Err(error)) = timeout(MARK_TIMEOUT, self.raft.client_write(entry)).await {
            tracing::debug!(%error, "no mark was written");
        }
    }
}

/// Called between the mark at `index` and the entry that follows it; returns when the scan has settled what it reads.
/// While another is under way nothing is begun: the next mark comes soon.
pub(crate) async fn scan(effects: &Effects, index: u64) {
    let (scrub, engine) = (effects.scrub.clone(), effects.engine.clone());
    if scrub.scanning.swap(true, Ordering::AcqRel) {
        return;
    }
    let (settle, settled) = oneshot::channel();
    tokio::spawn(async move {
        let started = Instant::now();
        // Whoever waited for it may have gone.
        let settled = move || {
            settle.send(()).ok();
        };
        let hash = behind(move || engine.whole_hash(settled)).await;
        scrub.finish(index, started, hash.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string()))));
    });
    // Dropped when it could not be begun.
    settled.await.ok();
}

/// By the way of versions before: runs until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    let mut wanted = replica.scrub.wanted.subscribe();
    while wanted.changed().await.is_ok() {
        let round = *wanted.borrow_and_update();
        *replica.scrub.ended.lock() = None;
        hash(&replica, round).await;
        *replica.scrub.ended.lock() = Some(Instant::now());
    }
}

async fn hash(replica: &Arc<Replica>, round: Round) {
    if !replica.effects.applied.wait_revision(round.revision, CATCH_UP).await {
        return;
    }
    let engine = replica.effects.engine.clone();
    let started = Instant::now();
    match behind(move || engine.contents_hash(round.revision)).await {
        Ok(Ok(hash)) => {
            *replica.scrub.last.lock() = Some(Content { round, hash });
            metrics::gauge!("kontiki_store_scrub_duration_seconds").set(started.elapsed().as_secs_f64());
        }
        Ok(Err(StoreError::Fatal(why))) => replica.scrub.found_damage(&why),
        // Compacted meanwhile: the next round is about a newer revision.
        Ok(Err(error)) => tracing::debug!(%error, "the contents could not be hashed"),
        Err(error) => tracing::error!(%error, "hashing the contents ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_end_of_no_lease() {
        assert!(is_mark(&mark()));
        for other in [vec![], vec![(1, 0)], vec![(NO_LEASE, 0), (1, 0)]] {
            assert!(!is_mark(&Command::LeasesEnd { leases: other }));
        }
        assert!(!is_mark(&Command::LeaseRenew { lease: NO_LEASE }));
    }

    #[test]
    fn hashes_are_compared_after_the_same_mark_only() {
        let whole = |all: &[(u64, u64)]| all.iter().map(|(index, hash)| Whole { index: *index, hash: *hash }).collect();
        let same = |mine: &[(u64, u64)], its: &[(u64, u64)]| {
            let (mine, its): (Vec<Whole>, Vec<Whole>) = (whole(mine), whole(its));
            compare(&mine, &its)
        };
        assert_eq!((same(&[], &[(5, 1)]), same(&[(6, 1)], &[(5, 1), (7, 1)])), (None, None));
        assert_eq!(same(&[(3, 2), (6, 1)], &[(5, 9), (6, 1)]), Some(true));
        assert_eq!(same(&[(3, 2), (6, 1)], &[(3, 9), (6, 1)]), Some(false), "it was wrong once");
    }

    #[tokio::test]
    async fn a_leader_marks_now_and_then() {
        let (scrub, now) = (Scrub::default(), Instant::now());
        assert!(scrub.is_due(now), "the first");
        assert!(!scrub.is_due(now + PAUSE / 2), "it may be on its way");
        scrub.scanning.store(true, Ordering::Release);
        assert!(!scrub.is_due(now + PAUSE * 3), "a scan is under way");
        for index in 1..=KEPT as u64 + 2 {
            scrub.finish(index, now, Ok(index * 7));
        }
        assert_eq!((scrub.whole().len(), scrub.whole()[0]), (KEPT, Whole { index: 3, hash: 21 }));
        assert_eq!((scrub.scans(), scrub.damage()), (KEPT as u64 + 2, None));
        assert!(!scrub.is_due(Instant::now()), "one ended just now");
        assert!(scrub.is_due(Instant::now() + PAUSE));
        scrub.finish(9, now, Err(StoreError::Fatal("a block is damaged".into())));
        assert_eq!((scrub.damage().as_deref(), scrub.whole().len()), (Some("a block is damaged"), KEPT));
    }

    #[tokio::test]
    async fn one_round_after_the_other() {
        let now = Instant::now();
        let round = |term, number| Round { term, number, revision: 7 };
        let later = now + PAUSE;
        assert_eq!(next(Round::default(), 3, 7, None, now), Some(round(3, 1)), "the first");
        assert_eq!(next(round(3, 1), 3, 7, None, later), None, "it goes on");
        assert_eq!(next(round(3, 1), 3, 7, Some(now), now), None, "it ended just now");
        assert_eq!(next(round(3, 1), 3, 7, Some(now), later), Some(round(3, 2)));
        assert_eq!(next(round(3, 9), 4, 7, None, now), Some(round(4, 1)), "a new leader");
        let scrub = Scrub::default();
        scrub.ask(round(3, 2));
        scrub.ask(round(3, 1));
        assert_eq!(scrub.round(), round(3, 2), "of an old leader");
    }
}
