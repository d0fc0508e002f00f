//! For how long nobody got through.

use std::time::Duration;

use crate::history::Op;

/// The longest time between two acknowledged writes that ends after `from`; what lasts until `until` counts.
pub fn longest_gap(ops: &[Op], from: Duration, until: Duration) -> Duration {
    let mut acknowledged: Vec<Duration> =
        ops.iter().filter(|op| op.is_acknowledged_write()).map(|op| op.returned).collect();
    acknowledged.push(until);
    acknowledged.sort_unstable();
    let first = acknowledged.partition_point(|at| *at <= from);
    let mut last = first.checked_sub(1).map_or(Duration::ZERO, |before| acknowledged[before]);
    let mut longest = Duration::ZERO;
    for at in acknowledged[first..].iter().take_while(|at| **at <= until) {
        longest = longest.max(*at - last);
        last = *at;
    }
    longest
}

/// From `at` to the first acknowledgement of a write that began after it.
pub fn first_write(ops: &[Op], at: Duration) -> Option<Duration> {
    let after = ops.iter().filter(|op| op.is_acknowledged_write() && op.invoked >= at);
    after.map(|op| op.returned - at).min()
}

/// The `share` (0 to 1) quantile, by nearest rank.
pub fn quantile(values: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::*;
    use crate::history::Outcome;

    #[test]
    fn gaps_are_between_acknowledgements() {
        let write = |invoked, returned, outcome| op(invoked, returned, create("a", "a"), outcome);
        let ops = [
            write(0, 10, Outcome::Written(1)),
            write(90, 95, Outcome::Written(2)),
            write(96, 150, unknown()),
            write(99, 400, Outcome::Written(3)),
            write(380, 390, Outcome::Written(4)),
            write(410, 420, Outcome::Written(5)),
        ];
        assert_eq!(longest_gap(&ops, ms(100), ms(500)), ms(295), "from 95 to 390");
        assert_eq!(longest_gap(&ops, ms(100), ms(9_420)), ms(9_000), "nothing after 420");
        assert_eq!(longest_gap(&[], ms(100), ms(500)), ms(500));
        assert_eq!(first_write(&ops, ms(100)), Some(ms(290)));
        assert_eq!(first_write(&ops, ms(500)), None);
    }

    #[test]
    fn quantiles_are_measured_values() {
        let values: Vec<Duration> = (1..=10).map(ms).collect();
        assert_eq!([0.5, 0.99, 1.0, 0.0].map(|share| quantile(&values, share)), [5, 10, 10, 1].map(|n| Some(ms(n))));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
