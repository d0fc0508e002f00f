//! Reading all that is kept, again and again, and comparing it with the others: a replica whose disk changed behind its
//! back must be noticed before somebody reads there.
//!
//! The leader names a revision now and then; every member hashes what its keys hold at it, and they compare when they
//! tell each other how they are ([`crate::exchange`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store_api::{Revision, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::blocking::behind;
use crate::replica::Replica;

/// Between the end of one scan and the beginning of the next.
const PAUSE: Duration = Duration::from_secs(10);
/// Until a revision that the leader has must be applied here.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What is to be hashed. Numbered, because nothing may have been written since the last time.
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
    ended: Mutex<Option<Instant>>,
    /// What could not be read.
    damage: Mutex<Option<String>>,
}

impl Default for Scrub {
    fn default() -> Self {
        let wanted = watch::Sender::new(Round::default());
        Self { wanted, last: Mutex::default(), ended: Mutex::default(), damage: Mutex::default() }
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

    /// As leader: begins another round when the last one ended a while ago.
    pub(crate) fn lead(&self, term: u64, revision: Revision, now: Instant) {
        if let Some(round) = next(self.round(), term, revision, *self.ended.lock(), now) {
            self.ask(round);
        }
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

/// Runs until the replica stops.
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
