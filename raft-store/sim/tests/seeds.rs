//! Some hundreds of seeds, in bounded time. `SIM_SEEDS` says how many, `SIM_SEED` with which to begin; `SIM_TRACE=1`
//! prints everything that happens.

use std::collections::BTreeMap;
use std::time::Instant;

use store_sim::{Options, run};

/// Unoptimised, a seed takes many times as long.
const SEEDS: u64 = if cfg!(debug_assertions) { 20 } else { 200 };

/// Seeds that found something once: a batch of writes of which one was never answered ended in a panic.
const FOUND: [u64; 1] = [5_178];

fn number(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
        Err(_) => usual,
    }
}

#[test]
fn every_promise_is_kept_whatever_goes_wrong() {
    let (first, seeds, loud) = (number("SIM_SEED", 1), number("SIM_SEEDS", SEEDS), number("SIM_TRACE", 0) == 1);
    let begun = Instant::now();
    let (mut entries, mut acknowledged, mut faults) = (0, 0, BTreeMap::<&str, u64>::new());
    let again = FOUND.into_iter().filter(|_| seeds >= 100);
    for seed in (first..first + seeds).chain(again) {
        let report = run(seed, Options { loud, ..Options::default() }).expect("room for the simulated disks");
        if let Some(failure) = report.failure {
            panic!("{failure}");
        }
        entries += report.entries;
        acknowledged += report.acknowledged;
        report.faults.iter().for_each(|(fault, times)| *faults.entry(fault).or_default() += times);
    }
    println!(
        "{seeds} seeds in {:.1?}: {entries} entries, {acknowledged} writes acknowledged, {faults:?}",
        begun.elapsed()
    );
    // A run that does nothing finds nothing.
    assert!(acknowledged > seeds * 20, "only {acknowledged} writes were acknowledged");
    assert!(seeds < 100 || faults.len() >= 24, "not every fault happened: {faults:?}");
}
