//! How long a leader may be silent before another is elected, and how often it speaks: longer, and less often, where
//! round trips are long.
//!
//! The configured timeout is the shortest. Between far or busy machines it is too short: every delay would begin an
//! election, which takes several round trips itself. Round trips to the voters are measured all the time, and no
//! election begins before five of them, as long as the slow ones among the recent ones, have passed without a word of
//! the leader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::NodeConfig;
use crate::replica::Replica;

/// Round trips remembered: about a minute of them.
const REMEMBERED: usize = 64;
/// Of the last so many, the fastest says how long the way is: a way that became longer is known after two exchanges.
const NEWEST: usize = 4;
/// Of these in a hundred, that many are faster than what counts: one that was slow says nothing.
const PERCENT: usize = 90;
/// What an election takes, and some delays besides.
const ROUND_TRIPS: u32 = 5;
/// Heartbeats in the shortest time until the election of another, at least.
const BEATS: u32 = 5;
/// However long they take, a dead leader is noticed after this.
const LONGEST: Duration = Duration::from_secs(5);
/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(50);

/// The round trips measured last.
#[derive(Default)]
pub(crate) struct Timing {
    recent: Mutex<VecDeque<Duration>>,
    /// What a slow one of them takes, in microseconds.
    slow: AtomicU64,
    /// The fastest of the newest, in microseconds: how long the way itself is, whatever else the machines do.
    fast: AtomicU64,
}

impl Timing {
    pub(crate) fn measured(&self, round_trip: Duration) {
        let mut recent = self.recent.lock();
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(round_trip);
        let mut sorted: Vec<Duration> = recent.iter().copied().collect();
        sorted.sort_unstable();
        let micros = |took: &Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slow = sorted.get(sorted.len() * PERCENT / 100).map_or(0, micros);
        self.slow.store(slow, Ordering::Relaxed);
        let fast = recent.iter().rev().take(NEWEST).min().map_or(0, micros);
        self.fast.store(fast, Ordering::Relaxed);
    }

    /// What a slow one takes.
    pub(crate) fn slow(&self) -> Duration {
        Duration::from_micros(self.slow.load(Ordering::Relaxed))
    }

    /// What the fastest of the newest takes: to the voter that is nearest.
    pub(crate) fn fast(&self) -> Duration {
        Duration::from_micros(self.fast.load(Ordering::Relaxed))
    }

    /// Silence of the leader after which an election may begin.
    pub(crate) fn patience(&self, configured: Duration) -> Duration {
        patience(configured, self.slow())
    }
}

fn patience(configured: Duration, round_trip: Duration) -> Duration {
    (round_trip * ROUND_TRIPS).min(LONGEST).max(configured)
}

/// As often as a slow answer takes: between far machines more of them say nothing sooner.
fn pause(configured: Duration, round_trip: Duration, election: Duration) -> Duration {
    round_trip.min(election / BEATS).max(configured)
}

/// Whether an election may begin, if raft finds it due.
fn may_elect(fenced: bool, silence: Option<Duration>, patience: Duration) -> bool {
    !fenced && silence.is_none_or(|silence| silence >= patience)
}

/// Runs until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    let mut allowed = None;
    loop {
        tokio::time::sleep(TICK).await;
        let patience = replica.timing.patience(replica.config.election_timeout.start);
        let silence = replica.contact.age(Instant::now());
        let fenced = replica.diverged.load(Ordering::Acquire);
        let now = may_elect(fenced, silence, patience);
        if allowed != Some(now) {
            allowed = Some(now);
            replica.raft.runtime_config().elect(now);
        }
    }
}

/// Sends heartbeats while this replica leads, until it stops. openraft's own come at the interval that it waits for
/// their answers, and an answer takes as long as a round trip does: by itself it could be heard often, or far away.
/// There is one at a time for each peer, so those asked for in the meantime become one.
pub(crate) async fn beat(replica: Arc<Replica>) {
    loop {
        let NodeConfig { heartbeat, election_timeout, .. } = &replica.config;
        tokio::time::sleep(pause(*heartbeat, replica.timing.slow(), election_timeout.end)).await;
        if replica.leads() && replica.raft.trigger().heartbeat().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_round_trips() {
        let configured = Duration::from_millis(500);
        let of = |millis| patience(configured, Duration::from_millis(millis)).as_millis();
        assert_eq!([of(0), of(1), of(100), of(101), of(300), of(5_000)], [500, 500, 500, 505, 1_500, 5_000]);
        let timing = Timing::default();
        let measure = |count, millis| (0..count).for_each(|_| timing.measured(Duration::from_millis(millis)));
        measure(95, 1);
        measure(3, 3_000);
        assert_eq!(timing.fast(), Duration::from_millis(1), "a few that were slow say nothing");
        measure(2, 3_000);
        assert_eq!(timing.patience(configured), configured, "a few that were slow say nothing");
        measure(10, 400);
        assert_eq!(timing.patience(configured), Duration::from_secs(2));
        assert_eq!(timing.fast(), Duration::from_millis(400), "the way is longer now");
        measure(1, 1);
        assert_eq!(timing.fast(), Duration::from_millis(1), "nothing makes an answer come sooner");
        measure(REMEMBERED, 1);
        assert_eq!(timing.patience(configured), configured, "the network is well again");
    }

    #[test]
    fn heartbeats_come_as_often_as_answers_but_often_enough() {
        let millis = Duration::from_millis;
        let of = |round_trip| pause(millis(100), millis(round_trip), millis(1_000)).as_millis();
        assert_eq!([of(0), of(99), of(150), of(200), of(4_000)], [100, 100, 150, 200, 200]);
    }

    #[test]
    fn elections_wait_for_the_patience_to_end() {
        let patience = Duration::from_secs(2);
        let ask = |fenced, silence: Option<u64>| may_elect(fenced, silence.map(Duration::from_millis), patience);
        assert!(ask(false, None), "nobody was ever heard of");
        assert!(!ask(false, Some(1_999)) && ask(false, Some(2_000)));
        assert!(!ask(true, None) && !ask(true, Some(9_000)), "it has the wrong data");
    }
}
