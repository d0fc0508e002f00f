//! Every checker finds the bug that is planted for it.

use store_sim::{Options, Plant, run};

/// Seeds in which a planted bug must be found.
const SEEDS: u64 = 200;

/// The promise that is broken in the first seed in which one is.
fn find(plant: Plant, only: &'static str) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        let options = Options { plant: Some(plant), only: Some(only), ..Options::default() };
        let report = run(seed, options).expect("room for the simulated disks");
        match report.failure {
            Some(failure) if failure.promise.starts_with(only) => {
                println!("{plant:?}: seed {seed}: {}: {}", failure.promise, failure.why);
                return;
            }
            // The bug may stop the cluster before anything is seen to be broken.
            Some(failure) => others.push(format!("seed {seed}: {}: {:.200}", failure.promise, failure.why)),
            None => {}
        }
    }
    panic!("{plant:?} is not found by {only:?} in {SEEDS} seeds, but:\n{}", others.join("\n"));
}

macro_rules! planted {
    ($($name:ident: $plant:ident by $checker:literal,)*) => {
        $(#[test]
        fn $name() {
            find(Plant::$plant, $checker);
        })*
    };
}

planted! {
    s01: Impostor by "S1 ",
    s02: OtherEntry by "S2 ",
    s03: SyncIsNoSync by "S3 ",
    s04: OtherState by "S4 ",
    s04_m_other_entry: OtherEntry by "S4 ",
    s05: AckBeforeSync by "S5 ",
    s06: SyncIsNoSync by "S6 ",
    s07: PurgeTooFar by "S7 ",
    s08: CommitGoesBack by "S8 ",
    s08_power: SyncIsNoSync by "S8 ",
    s09: SyncIsNoSync by "S9 ",
    s10: LogBeforeVote by "S10 ",
    s11: AckBeforeSync by "S11 ",
    s12: OtherState by "S12 ",
    s13: OtherWhenRepeated by "S13 ",
    s14: JumpWithoutSnapshot by "S14 ",
    s15: OtherSnapshot by "S15 ",
    s16: WipedVotes by "S16 ",
    s17: DisjointQuorums by "S17 ",
    s18: ReadWithoutAsking by "S18 ",
    s19: ApplyByGroup by "S19 ",
    s20: AnswerStrangers by "S20 ",
    s21: NeverHeal by "S21 ",
    writes: RetryIsAnother by "C1",
    writes_that_are_lost: SyncIsNoSync by "C1",
    watches_that_lose: WatchLosesEvents by "W1",
    watches_that_skip: ResumeTooLate by "W1",
    watches_that_run_ahead: ProgressTooEarly by "W1",
    leases: LeaseEndsEarly by "L4",
    reads: OtherEntry by "C4",
}
