//! How much history is kept: the leader proposes to forget revisions older than the configured age.
//!
//! Every replica remembers which revision it had at which moment of its own monotonic clock, so that a
//! new leader goes on where the old one was. Pure; the time comes from outside.

use std::collections::VecDeque;
use std::time::Duration;

use store_api::Revision;
use tokio::time::Instant;

/// Marks kept: the precision of the age is the history divided by it.
const MARKS: u32 = 64;

/// Which revision was the newest when.
#[derive(Debug)]
pub(crate) struct Marks {
    history: Duration,
    marks: VecDeque<(Instant, Revision)>,
}

impl Marks {
    pub(crate) fn new(history: Duration) -> Self {
        Self { history, marks: VecDeque::new() }
    }

    /// How often to call [`Self::observe`].
    pub(crate) fn interval(&self) -> Duration {
        (self.history / MARKS).clamp(Duration::from_millis(50), Duration::from_secs(60))
    }

    /// Remembers the newest revision of now; answers the newest revision that is older than the history.
    pub(crate) fn observe(&mut self, now: Instant, newest: Revision) -> Option<Revision> {
        self.marks.push_back((now, newest));
        let mut old = None;
        while let Some((at, revision)) = self.marks.front().copied()
            && now.duration_since(at) >= self.history
        {
            old = Some(revision);
            self.marks.pop_front();
        }
        old.filter(|revision| *revision > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_history_is_let_go() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut marks = Marks::new(Duration::from_secs(300));
        assert_eq!(marks.interval(), Duration::from_secs(300) / 64);
        assert_eq!(marks.observe(at(0), 0), None);
        assert_eq!(marks.observe(at(10), 40), None);
        assert_eq!(marks.observe(at(300), 90), None);
        assert_eq!(marks.observe(at(309), 91), None);
        assert_eq!(marks.observe(at(310), 95), Some(40));
        assert_eq!(marks.observe(at(311), 95), None);
        assert_eq!(marks.observe(at(900), 99), Some(95));
    }
}
