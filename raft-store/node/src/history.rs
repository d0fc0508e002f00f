//! How much history is kept: the leader proposes to forget revisions older than the configured age, and older
//! than the configured bytes.
//!
//! Every replica remembers which revision it had at which moment of its own monotonic clock, so that a
//! new leader goes on where the old one was. Pure; the time comes from outside.

use std::collections::VecDeque;
use std::time::Duration;

use store_api::Revision;
use tokio::time::Instant;

/// Marks kept: the precision of the limits is each of them divided by it.
const MARKS: u32 = 64;

/// Which revision was the newest when, and how much had been written.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    revision: Revision,
    bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Marks {
    history: Duration,
    history_bytes: u64,
    marks: VecDeque<Mark>,
}

impl Marks {
    pub(crate) fn new(history: Duration, history_bytes: u64) -> Self {
        Self { history, history_bytes, marks: VecDeque::new() }
    }

    /// How often to call [`Self::observe`].
    pub(crate) fn interval(&self) -> Duration {
        self.spacing().min(Duration::from_secs(1))
    }

    fn spacing(&self) -> Duration {
        (self.history / MARKS).clamp(Duration::from_millis(50), Duration::from_secs(60))
    }

    /// Remembers the newest revision of now, and the bytes written since the start; answers the newest revision
    /// that is older than the history, or has more than its bytes behind it.
    pub(crate) fn observe(&mut self, now: Instant, newest: Revision, bytes: u64) -> Option<Revision> {
        let (spacing, spacing_bytes) = (self.spacing(), self.history_bytes / u64::from(MARKS));
        let is_due =
            |last: &Mark| now.duration_since(last.at) >= spacing || bytes.saturating_sub(last.bytes) >= spacing_bytes;
        if self.marks.back().is_none_or(is_due) {
            self.marks.push_back(Mark { at: now, revision: newest, bytes });
        }
        let mut old = None;
        while let Some(mark) = self.marks.front().copied()
            && (now.duration_since(mark.at) >= self.history || bytes.saturating_sub(mark.bytes) > self.history_bytes)
        {
            old = Some(mark.revision);
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
        let mut marks = Marks::new(Duration::from_secs(300), u64::MAX);
        assert_eq!((marks.interval(), marks.spacing()), (Duration::from_secs(1), Duration::from_secs(300) / 64));
        let mut observe = |seconds, newest| marks.observe(at(seconds), newest, 0);
        assert_eq!(observe(0, 0), None);
        assert_eq!(observe(10, 40), None);
        assert_eq!(observe(11, 44), None);
        assert_eq!(observe(300, 90), None);
        assert_eq!(observe(309, 91), None);
        assert_eq!(observe(310, 95), Some(40));
        assert_eq!(observe(311, 95), None);
        assert_eq!(observe(900, 99), Some(91));
    }

    #[test]
    fn what_has_too_much_behind_it_is_let_go() {
        let now = Instant::now();
        let mut marks = Marks::new(Duration::from_secs(300), 6_400);
        let seen: Vec<_> = (0..8).map(|n| marks.observe(now, n * 10, n * 3_000)).collect();
        assert_eq!(seen, [None, None, None, None, Some(10), Some(20), Some(30), Some(40)]);
        assert!(marks.marks.len() <= 4);
        for n in 0..10_000 {
            marks.observe(now, 100 + n, 30_000 + n);
        }
        assert!(marks.marks.len() <= 66, "{} marks", marks.marks.len());
    }
}
