//! When to probe, and what the answers amount to: thresholds and delays.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, Probe};

use crate::Now;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

    /// As events name it: `Liveness probe failed: ...`.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure(String),
    /// The probe could not be made: neither good nor bad.
    Error(String),
}

/// The run of one probe of one incarnation of a container.
#[derive(Clone, Debug)]
pub struct Worker {
    pub kind: ProbeKind,
    period: SignedDuration,
    timeout: SignedDuration,
    success_threshold: i32,
    failure_threshold: i32,
    next: Now,
    streak: i32,
    last_good: bool,
    verdict: Option<bool>,
}

/// Numbers the API server did not default are taken as upstream defaults them.
fn number(value: Option<i32>, default: i32) -> i32 {
    value.filter(|v| *v > 0).unwrap_or(default)
}

impl Worker {
    /// For an incarnation that started at `started`.
    pub fn new(kind: ProbeKind, probe: &Probe, started: Now) -> Self {
        let delay = SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)));
        Self {
            kind,
            period: SignedDuration::from_secs(i64::from(number(probe.period_seconds, 10))),
            timeout: SignedDuration::from_secs(i64::from(number(probe.timeout_seconds, 1))),
            success_threshold: number(probe.success_threshold, 1),
            failure_threshold: number(probe.failure_threshold, 3),
            next: started.checked_add(delay).unwrap_or(started),
            streak: 0,
            last_good: false,
            verdict: None,
        }
    }

    pub fn timeout(&self) -> SignedDuration {
        self.timeout
    }

    /// When to ask next; `None`: never again. Only a startup probe may run before the container is `started`.
    pub fn due(&self, started: bool) -> Option<Now> {
        match self.kind {
            // It has done its work once it said either.
            ProbeKind::Startup => (!started && self.verdict != Some(false)).then_some(self.next),
            ProbeKind::Liveness if self.verdict == Some(false) => None,
            _ => started.then_some(self.next),
        }
    }

    /// Takes an answer; `Some`: what the probe says from now on, if that changed.
    pub fn answer(&mut self, outcome: &Outcome, now: Now) -> Option<bool> {
        self.next = now.checked_add(self.period).unwrap_or(now);
        let good = match outcome {
            Outcome::Success => true,
            Outcome::Failure(_) => false,
            Outcome::Error(_) => return None,
        };
        self.streak = if self.streak > 0 && good == self.last_good { self.streak + 1 } else { 1 };
        self.last_good = good;
        let threshold = if good { self.success_threshold } else { self.failure_threshold };
        if self.streak < threshold || self.verdict == Some(good) {
            return None;
        }
        self.verdict = Some(good);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Now {
        Now::from_second(1_000_000 + seconds).expect("in range")
    }

    #[test]
    fn thresholds_and_delays() {
        let probe = Probe {
            initial_delay_seconds: Some(5),
            period_seconds: Some(2),
            failure_threshold: Some(2),
            success_threshold: Some(2),
            ..Probe::default()
        };
        let mut worker = Worker::new(ProbeKind::Readiness, &probe, at(0));
        assert_eq!(worker.due(false), None);
        assert_eq!(worker.due(true), Some(at(5)));
        let bad = Outcome::Failure("no".into());
        let answers = [
            (&Outcome::Success, 5),
            (&Outcome::Success, 7),
            (&bad, 9),
            (&Outcome::Success, 11),
            (&bad, 13),
            (&bad, 15),
        ];
        let said: Vec<_> = answers.iter().map(|(outcome, second)| worker.answer(outcome, at(*second))).collect();
        assert_eq!(said, [None, Some(true), None, None, None, Some(false)]);
        assert_eq!(worker.due(true), Some(at(17)));
    }

    #[test]
    fn startup_probes_end_when_they_have_spoken() {
        let mut worker =
            Worker::new(ProbeKind::Startup, &Probe { failure_threshold: Some(1), ..Default::default() }, at(0));
        assert_eq!(worker.due(false), Some(at(0)));
        assert_eq!(worker.answer(&Outcome::Error("runtime".into()), at(0)), None);
        assert_eq!(worker.answer(&Outcome::Failure("no".into()), at(10)), Some(false));
        assert_eq!(worker.due(false), None);
    }
}
