//! How long whoever was refused is to stay away: longer the more are refused, as upstream. Pure.

use std::collections::HashMap;

/// Seconds.
const MAX_RETRY_AFTER: u64 = 32;

/// Of one level.
#[derive(Clone, Debug, Default)]
struct History {
    /// Second, and refusals in it; in order.
    seconds: Vec<(u64, u64)>,
    retry_after: u64,
    raised: u64,
}

#[derive(Debug, Default)]
pub struct Dropped(HashMap<String, History>);

impl Dropped {
    /// One more was refused in this second. Answers what to say in `Retry-After`.
    pub fn record(&mut self, level: &str, second: u64) -> u64 {
        let history = self.0.entry(level.to_owned()).or_default();
        history.retry_after = history.retry_after.max(1);
        match history.seconds.last_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => {
                history.seconds.push((second, 1));
                history.update(second);
            }
        }
        history.retry_after
    }
}

impl History {
    /// At the first refusal of a second: from those of the seconds before.
    fn update(&mut self, second: u64) {
        let kept = (2 * self.retry_after).min(MAX_RETRY_AFTER);
        self.seconds.retain(|(at, _)| second.saturating_sub(*at) <= kept);
        let recent = |(at, _): &&(u64, u64)| *at < second && second - at <= self.retry_after;
        let refused: u64 = self.seconds.iter().filter(recent).map(|(_, count)| count).sum();
        if second.saturating_sub(self.raised) >= self.retry_after && refused >= 3 * self.retry_after {
            self.retry_after = (2 * self.retry_after).min(MAX_RETRY_AFTER);
            self.raised = second;
        } else if refused < self.retry_after && self.retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_under_pressure_and_comes_down_slowly() {
        let mut dropped = Dropped::default();
        let mut said = Vec::new();
        for second in 100..140 {
            for _ in 0..200 {
                said.push(dropped.record("l", second));
            }
        }
        said.dedup();
        assert_eq!(said, [1, 2, 4, 8, 16, 32]);
        let mut calm: Vec<u64> = (0..70).map(|at| dropped.record("l", 200 + 40 * at)).collect();
        calm.dedup();
        assert_eq!(calm, (1..=31).rev().collect::<Vec<_>>());
        assert_eq!(dropped.record("other", 100), 1);
    }
}
