//! Every checker finds the bug that is planted for it.

use store_sim::{Bug, Options, Plant, run};

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
    ($($name:ident: $plant:expr => $checker:literal,)*) => {
        $(#[test]
        fn $name() {
            find($plant, $checker);
        })*
    };
}

planted! {
    s01: Plant::Impostor => "S1 ",
    s02: Plant::OtherEntry => "S2 ",
    s03: Plant::SyncIsNoSync => "S3 ",
    s04: Plant::OtherEntry => "S4 ",
    s04_m_local_compaction: Plant::Code(Bug::LocalCompaction) => "S4 ",
    s05: Plant::AckBeforeSync => "S5 ",
    s05_m_any_prefix: Plant::AnyPrefix => "S5 ",
    s06: Plant::SyncIsNoSync => "S6 ",
    s07: Plant::Code(Bug::PurgesTooFar) => "S7 ",
    s08: Plant::CommitGoesBack => "S8 ",
    s08_power: Plant::SyncIsNoSync => "S8 ",
    s08_vote: Plant::Code(Bug::VoteNotKept) => "S8 ",
    s09: Plant::SyncIsNoSync => "S9 ",
    s10: Plant::Code(Bug::VoteNotKept) => "S10 ",
    s11: Plant::AckBeforeSync => "S11 ",
    s11_vote: Plant::Code(Bug::VoteNotKept) => "S11 ",
    s12: Plant::Code(Bug::PositionApart) => "S12 ",
    s12_revision: Plant::Code(Bug::RevisionWithDataOnly) => "S12 ",
    s12_compaction: Plant::Code(Bug::LocalCompaction) => "S12 ",
    s13: Plant::Code(Bug::BlindInGroup) => "S13 ",
    s14: Plant::JumpWithoutSnapshot => "S14 ",
    s15: Plant::Code(Bug::SnapshotKeepsGarbage) => "S15 ",
    s16: Plant::WipedVotes => "S16 ",
    s17: Plant::DisjointQuorums => "S17 ",
    s17_half_way: Plant::Code(Bug::ChangesHalfWay) => "S17 ",
    s18: Plant::Code(Bug::ReadWithoutAsking) => "S18 ",
    s18_retry: Plant::Code(Bug::ReadAfterFailedRound) => "S18 ",
    s19: Plant::Code(Bug::BlindInGroup) => "S19 ",
    s20: Plant::Code(Bug::AnswersAnyone) => "S20 ",
    s21: Plant::NeverHeal => "S21 ",
    writes: Plant::Code(Bug::RetryIsAnother) => "C1",
    writes_that_are_lost: Plant::SyncIsNoSync => "C1",
    watches_that_lose: Plant::Code(Bug::WatchDropsWhenFull) => "W1",
    watches_that_skip: Plant::Code(Bug::ResumeTooLate) => "W1",
    watches_that_run_ahead: Plant::Code(Bug::ProgressTooEarly) => "W1",
    watches_of_the_future: Plant::Code(Bug::FutureIsNow) => "W1",
    watches_over_snapshots: Plant::Code(Bug::WatchOverSnapshot) => "W1",
    watches_from_the_compacted_revision: Plant::Code(Bug::CompactsDeletions) => "W1",
    leases: Plant::Code(Bug::LeaseEndsEarly) => "L4",
    reads: Plant::OtherEntry => "C4",
}
