//! How many seats a level could have used over a period: mean, deviation and peak.

use std::time::Duration;

/// Of the last smoothed demand so much stays in the next: half of it is gone after five minutes of periods of ten
/// seconds, as upstream.
const SMOOTHING: f64 = 0.977;

/// Integrates a number that changes at times.
#[derive(Clone, Debug)]
pub struct Integrator {
    at: Duration,
    value: f64,
    max: f64,
    seconds: f64,
    sum: f64,
    squares: f64,
}

/// Over one period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub seconds: f64,
    pub average: f64,
    pub deviation: f64,
    pub max: f64,
}

impl Integrator {
    pub fn new(now: Duration) -> Self {
        Self { at: now, value: 0.0, max: 0.0, seconds: 0.0, sum: 0.0, squares: 0.0 }
    }

    pub fn set(&mut self, value: f64, now: Duration) {
        self.advance(now);
        self.value = value;
        self.max = self.max.max(value);
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.seconds += passed;
        self.sum += self.value * passed;
        self.squares += self.value * self.value * passed;
    }

    /// What was since the last call.
    pub fn take(&mut self, now: Duration) -> Observed {
        self.advance(now);
        let average = if self.seconds > 0.0 { self.sum / self.seconds } else { 0.0 };
        let variance = if self.seconds > 0.0 { self.squares / self.seconds - average * average } else { 0.0 };
        // Rounding may leave a little less than nothing.
        let deviation = variance.max(0.0).sqrt();
        let observed = Observed { seconds: self.seconds, average, deviation, max: self.max };
        *self = Self { at: self.at, value: self.value, max: self.value, seconds: 0.0, sum: 0.0, squares: 0.0 };
        observed
    }
}

/// What is made of the periods so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    pub average: f64,
    pub deviation: f64,
    pub high_watermark: u64,
    pub smoothed: f64,
}

impl Demand {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seats are few and not negative")]
    pub fn update(&mut self, observed: &Observed) {
        self.high_watermark = observed.max.round() as u64;
        if observed.seconds <= 0.0 {
            return;
        }
        (self.average, self.deviation) = (observed.average, observed.deviation);
        let envelope = observed.average + observed.deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_mean_a_deviation_and_a_peak() {
        let seconds = Duration::from_secs;
        let mut demand = Integrator::new(seconds(0));
        demand.set(4.0, seconds(5));
        demand.set(9.0, seconds(10));
        demand.set(0.0, seconds(10));
        let observed = demand.take(seconds(10));
        assert_eq!(observed, Observed { seconds: 10.0, average: 2.0, deviation: 2.0, max: 9.0 });
        let quiet = demand.take(seconds(20));
        assert_eq!(quiet, Observed { seconds: 10.0, average: 0.0, deviation: 0.0, max: 0.0 });
        let mut smoothed = Demand::default();
        smoothed.update(&observed);
        assert_eq!((smoothed.high_watermark, smoothed.smoothed), (9, 4.0));
        smoothed.update(&quiet);
        assert_eq!(smoothed.high_watermark, 0);
        assert!((smoothed.smoothed - 4.0 * SMOOTHING).abs() < 1e-9, "it decays slowly");
    }
}
