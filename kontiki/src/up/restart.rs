//! When a process that ended is started again, and when there is no hope for it.

use std::time::Duration;

/// The first start again comes quickly, then it takes longer, at most this long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that lived this long starts again quickly.
const HEALTHY: Duration = Duration::from_secs(30);
/// A process that fails so often in a row will fail again.
const HOPELESS: u32 = 3;

/// How often a process ended in a row without having lived long.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    all: u32,
    /// Of these, by its own failure: somebody's kill -9 says nothing about what the next one will do.
    failures: u32,
}

impl Deaths {
    /// Takes note of one; the pause before the next start.
    pub(super) fn note(&mut self, lived: Duration, failed: bool) -> Duration {
        if lived >= HEALTHY {
            *self = Self::default();
        }
        self.all = self.all.saturating_add(1);
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        FIRST_PAUSE.saturating_mul(1 << (self.all - 1).min(5)).min(LONGEST_PAUSE)
    }

    /// The last one was a failure like the one before.
    pub(super) fn failing_again(&self) -> bool {
        self.failures > 1
    }

    pub(super) fn hopeless(&self) -> bool {
        self.failures >= HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_failures_end_the_hope() {
        let mut deaths = Deaths::default();
        let mut note = |seconds, failed| {
            let pause = deaths.note(Duration::from_secs(seconds), failed);
            (pause.as_millis(), deaths.hopeless())
        };
        assert_eq!(note(0, true), (500, false));
        assert_eq!(note(1, true), (1000, false));
        assert_eq!(note(1, false), (2000, false), "killed by somebody");
        assert_eq!(note(1, true), (4000, false));
        assert_eq!(note(1, true), (8000, false));
        assert_eq!(note(1, true), (10_000, true));
        assert_eq!(note(60, true), (500, false), "it lived");
    }
}
