//! A token bucket. Pure: the time is an argument.

use std::time::Duration;

/// So many at once, and so many a second after that.
#[derive(Clone, Debug)]
pub struct Throttle {
    per_second: f64,
    burst: f64,
    /// Tokens at `at`; below zero are those that were promised.
    tokens: f64,
    /// Since whatever the caller counts from.
    at: Duration,
}

impl Throttle {
    /// Both greater than zero: [`crate::options`] has checked it.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, tokens: burst, at: Duration::ZERO }
    }

    /// Takes a token and says how long to wait for it.
    pub fn take(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        self.at = self.at.max(now);
        match self.tokens < 0.0 {
            true => Duration::from_secs_f64(-self.tokens / self.per_second),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut throttle = Throttle::new(10.0, 2.0);
        let mut take = |at: u64| throttle.take(Duration::from_millis(at)).as_millis();
        assert_eq!([take(0), take(0), take(0), take(0)], [0, 0, 100, 200]);
        assert_eq!([take(300), take(300)], [0, 100], "what was promised is paid for");
        assert_eq!([take(9_000), take(9_000), take(9_000)], [0, 0, 100], "no more than the burst is saved");
    }
}
