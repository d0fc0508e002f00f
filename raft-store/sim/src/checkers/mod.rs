//! One promise, one checker, one file. Every fact is shown to every checker.

pub(crate) mod leases;
mod reads;
mod s01_one_leader;
mod s02_log_matching;
mod s03_leader_completeness;
mod s04_same_state;
mod s05_durable_quorum;
mod s06_committed_for_ever;
mod s07_order;
mod s08_never_back;
mod s09_no_holes;
mod s10_vote_before_log;
mod s11_ack_after_sync;
mod s12_atomic_apply;
mod s13_replay;
mod s14_install;
mod s15_snapshots;
mod s16_node_ids;
mod s17_membership;
mod s18_no_stale_read;
mod s19_deterministic;
mod s20_strangers;
mod s21_liveness;
mod starts;
pub(crate) mod watches;
mod writes;

use crate::facts::Fact;
use crate::view::View;

pub(crate) trait Checker {
    /// Of the promise, as docs name it, and in words.
    fn name(&self) -> &'static str;

    /// What is wrong.
    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String>;
}

pub(crate) fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<s01_one_leader::OneLeader>::default(),
        Box::<s02_log_matching::LogMatching>::default(),
        Box::<s03_leader_completeness::LeaderCompleteness>::default(),
        Box::new(s04_same_state::SameState),
        Box::new(s05_durable_quorum::DurableQuorum::default()),
        Box::new(s06_committed_for_ever::CommittedForEver),
        Box::new(s07_order::Order),
        Box::<s08_never_back::NeverBack>::default(),
        Box::new(s09_no_holes::NoHoles),
        Box::new(s10_vote_before_log::VoteBeforeLog),
        Box::new(s11_ack_after_sync::AckAfterSync),
        Box::new(s12_atomic_apply::AtomicApply),
        Box::<s13_replay::Replay>::default(),
        Box::<s14_install::Install>::default(),
        Box::new(s15_snapshots::Snapshots),
        Box::<s16_node_ids::NodeIds>::default(),
        Box::<s17_membership::Membership>::default(),
        Box::<s18_no_stale_read::NoStaleRead>::default(),
        Box::<s19_deterministic::Deterministic>::default(),
        Box::new(s20_strangers::Strangers),
        Box::<s21_liveness::Liveness>::default(),
        Box::new(starts::Starts),
        Box::<writes::Writes>::default(),
        Box::<reads::Reads>::default(),
        Box::<watches::Watches>::default(),
        Box::<leases::Leases>::default(),
    ]
}
