//! How fast a replica that is far behind is fed: what it has to catch up with takes processors and disks from the
//! writes that go on, here and there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::types::TypeConfig;

/// Committed entries that a replica lacks after a request, and is far behind.
const FAR_BEHIND: u64 = 4_096;
/// Longest rest between two requests: what took longer than that met with something else.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Of one stream of append requests: how many were sent that are answered, how many answers came, and how far behind
/// the last one left the replica.
pub(super) struct Pace {
    sent: AtomicU64,
    answered: watch::Sender<u64>,
    lag: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { sent: AtomicU64::new(0), answered: watch::Sender::new(0), lag: AtomicU64::new(0) }
    }

    pub(super) fn sending(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) {
        self.answered.send_modify(|answered| *answered += 1);
    }

    /// Whether an answer is due.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.load(Ordering::Relaxed) > *self.answered.borrow()
    }

    /// Before a request is sent. One that is far behind, and is catching up, gets the next request after it had the one
    /// before, and as long again as that took.
    pub(super) async fn rest(&self, request: &AppendEntriesRequest<TypeConfig>) {
        let lag = lag(request);
        if !is_to_rest(self.lag.swap(lag, Ordering::Relaxed), lag) {
            return;
        }
        let (started, sent) = (Instant::now(), self.sent.load(Ordering::Relaxed));
        // Its sender is here.
        self.answered.subscribe().wait_for(|answered| *answered >= sent).await.ok();
        tokio::time::sleep(started.elapsed().min(LONGEST_REST)).await;
    }
}

/// Committed entries that it lacks when it has this request's.
fn lag(request: &AppendEntriesRequest<TypeConfig>) -> u64 {
    let committed = request.leader_commit.as_ref().map_or(0, |id| id.index());
    let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
    committed.saturating_sub(last.map_or(0, |id| id.index()))
}

/// Not when resting would leave it behind for ever.
fn is_to_rest(before: u64, now: u64) -> bool {
    now > FAR_BEHIND && now < before
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::log_id_from_proto;
    use crate::types::Vote;

    fn request(committed: u64, prev: u64) -> AppendEntriesRequest<TypeConfig> {
        let id = |index| Some(log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index }));
        let vote = Vote::new_committed(1, 1);
        AppendEntriesRequest { vote, prev_log_id: id(prev), leader_commit: id(committed), entries: Vec::new() }
    }

    #[test]
    fn who_is_far_behind_and_comes_nearer_rests() {
        assert_eq!([lag(&request(9, 9)), lag(&request(9, 2)), lag(&request(2, 9))], [0, 7, 0]);
        for (before, now, rests) in [
            (0, 10_000, false),
            (10_000, 9_000, true),
            (9_000, 9_000, false),
            (9_000, 9_500, false),
            (4_200, 4_000, false),
        ] {
            assert_eq!(is_to_rest(before, now), rests, "{before} {now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_rests_as_long_as_the_request_before_took() {
        let (pace, started) = (Arc::new(Pace::new()), Instant::now());
        pace.rest(&request(20_000, 1)).await;
        pace.sending();
        assert!(started.elapsed().is_zero() && pace.is_waiting());
        let answers = pace.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            answers.heard();
        });
        pace.rest(&request(20_000, 5_000)).await;
        assert!(!pace.is_waiting());
        assert_eq!(started.elapsed(), Duration::from_millis(40));
    }
}
