//! Waiting longer after each failure: 10 s doubling to 5 min, forgotten after 10 quiet minutes.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::Now;

/// The first wait.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    delay: SignedDuration,
    updated: Now,
}

/// Waits by key. One per pod, so its size is bounded by the pod's containers and images.
#[derive(Clone, Debug, Default)]
pub struct Backoffs {
    entries: BTreeMap<String, Entry>,
}

impl Backoffs {
    /// How long the wait after an event at `since` is, and when it ends; `None`: no waiting.
    /// As upstream's `IsInBackOffSince`.
    pub fn waiting(&self, key: &str, since: Now, now: Now) -> Option<(SignedDuration, Now)> {
        let entry = self.entries.get(key)?;
        if expired(entry, since) {
            return None;
        }
        let until = since.checked_add(entry.delay).ok()?;
        (now < until).then_some((entry.delay, until))
    }

    /// Another failure, at `since`: the next wait is twice as long. As upstream's `Next`.
    pub fn next(&mut self, key: &str, since: Now, now: Now) -> SignedDuration {
        let delay = match self.entries.get(key) {
            Some(entry) if !expired(entry, since) => (entry.delay * 2).min(MAX),
            _ => INITIAL,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
        delay
    }

    /// It went well.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

fn expired(entry: &Entry, since: Now) -> bool {
    since.duration_since(entry.updated) > MAX * 2
}

/// As Go prints durations of whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_seconds(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Now {
        Now::from_second(1_000_000 + seconds).expect("in range")
    }

    #[test]
    fn doubles_to_five_minutes_and_forgets() {
        let mut backoffs = Backoffs::default();
        assert_eq!(backoffs.waiting("c", at(0), at(0)), None, "the first restart is at once");
        let waits: Vec<_> = (0..7).map(|n| go_seconds(backoffs.next("c", at(n), at(n)))).collect();
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        assert!(backoffs.waiting("c", at(10), at(309)).is_some());
        assert_eq!(backoffs.waiting("c", at(10), at(310)), None);
        assert_eq!(backoffs.waiting("c", at(700), at(700)), None, "ran for more than ten minutes");
        assert_eq!(go_seconds(backoffs.next("c", at(700), at(700))), "10s");
    }
}
