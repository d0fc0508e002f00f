//! `chaos sim`: simulated clusters, seed after seed, until one breaks a promise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use store_sim::{Options, run};

use crate::Failure;

/// How often to say how far it is.
const NEWS: Duration = Duration::from_secs(10);

/// How many seeds to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    Some(u64),
    Forever,
}

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forever" => Ok(Self::Forever),
            number => number.parse().map(Self::Some).map_err(|_| "a number, or forever".into()),
        }
    }
}

/// Runs seeds from `first` on; answers whether all of them kept every promise. The first that does not is printed.
pub fn simulate(first: u64, seeds: Seeds, loud: bool) -> Result<bool, Failure> {
    let (begun, mut said) = (Instant::now(), Instant::now());
    let (mut entries, mut acknowledged, mut faults) = (0, 0, BTreeMap::<&str, u64>::new());
    let mut done = 0;
    while seeds == Seeds::Forever || seeds != Seeds::Some(done) {
        let report = run(first.wrapping_add(done), Options { loud, ..Options::default() })?;
        done += 1;
        if let Some(failure) = report.failure {
            println!("{failure}");
            return Ok(false);
        }
        entries += report.entries;
        acknowledged += report.acknowledged;
        report.faults.iter().for_each(|(fault, times)| *faults.entry(fault).or_default() += times);
        if said.elapsed() >= NEWS {
            said = Instant::now();
            println!(
                "{done} seeds from {first} on in {:.0?}: {entries} entries, {acknowledged} writes",
                begun.elapsed()
            );
        }
    }
    println!("{done} seeds from {first} on in {:.1?}, no promise broken", begun.elapsed());
    println!("{entries} entries committed, {acknowledged} writes acknowledged");
    faults.iter().for_each(|(fault, times)| println!("{times:>8} {fault}"));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_counted_or_not() {
        assert_eq!(("12".parse(), "forever".parse()), (Ok(Seeds::Some(12)), Ok(Seeds::Forever)));
        assert!("many".parse::<Seeds>().is_err());
    }
}
