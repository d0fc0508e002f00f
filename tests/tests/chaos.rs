//! A short chaos run: three faults on real processes, checked by everything that `make chaos` checks with.

use std::time::Duration;

use chaos::cluster::Choice;
use chaos::round::Plan;
use chaos::run::{Wanted, run};

const FAULTS: [&str; 3] = ["kill-leader", "pause-leader", "cut-leader-mute"];

#[test]
fn three_faults_break_no_promise() {
    let temporary = tempfile::tempdir().expect("a directory");
    let seed = u64::from(std::process::id());
    let wanted = Wanted {
        kontiki: system_tests::binary(),
        dir: temporary.path().to_owned(),
        time: Duration::from_secs(150),
        seed,
        replicas: 3,
        choice: Choice::Auto,
        faults: FAULTS.map(str::to_owned).to_vec(),
        plan: Plan { strikes: 1, load: 0.7, cycles: Some(1) },
    };
    let Some(outcome) = run(wanted).expect("a run") else { return };
    println!("seed {seed}\n{}", outcome.report());
    let good = outcome.is_good() && outcome.rounds.len() == FAULTS.len();
    if !good {
        println!("histories and logs are in {}", temporary.keep().display());
    }
    assert!(good, "seed {seed}");
    let (missed, planted) = &outcome.missed;
    assert!(missed.is_empty() && *planted >= 12, "{planted} bugs were planted, not found: {missed:?}");
}
