//! A seed is a run: the same again, to the last line.

use store_sim::{Options, run};

#[test]
fn the_same_seed_is_the_same_run() {
    let mut hashes = Vec::new();
    for seed in 0..if cfg!(debug_assertions) { 2 } else { 8 } {
        let once = run(seed, Options::default()).expect("room");
        let again = run(seed, Options::default()).expect("room");
        assert_eq!(once, again, "seed {seed}");
        hashes.push(once.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 1, "other seeds are other runs");
}
