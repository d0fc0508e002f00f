//! What a round came to, in numbers.

use super::{History, Round};
use crate::checkers::{availability, growth};
use crate::history::{CompactionOutcome, Ending, LeaseAnswer, LeaseAsk, Op, Outcome, TxnOutcome};
use crate::strike::Strike;
use crate::workloads::probe;

pub(super) fn of(mut strikes: Vec<Strike>, history: History) -> Round {
    let probes: Vec<Op> = history.ops.iter().filter(|op| op.process.starts_with(probe::WORKLOAD)).cloned().collect();
    for strike in &mut strikes {
        strike.unavailable = availability::longest_gap(&probes, strike.at, strike.over);
        strike.first_write = strike.leader_lost.then(|| availability::first_write(&probes, strike.at)).flatten();
    }
    let txns = |wanted: fn(&TxnOutcome) -> bool| history.store.txns.iter().filter(|txn| wanted(&txn.outcome)).count();
    let watched: usize = history.watches.iter().flat_map(|log| &log.connections).map(|one| one.messages.len()).sum();
    let on_store = history.store.watches.iter().flat_map(|watch| &watch.messages).map(Vec::len).sum::<usize>();
    let strip = &history.compaction;
    let ops = || history.ops.iter().chain(&strip.ops);
    let count = |wanted: fn(&Op) -> bool| ops().filter(|op| wanted(op)).count();
    let behind = strip.watch.iter().flat_map(|log| &log.connections).map(|one| one.messages.len()).sum::<usize>()
        + strip.resumes.iter().flat_map(|resume| &resume.messages).map(Vec::len).sum::<usize>();
    let on_leases = history.ttl.seen.iter().map(Vec::len).sum::<usize>();
    let calls = |wanted: fn(&LeaseAnswer) -> bool| history.ttl.calls.iter().filter(|call| wanted(&call.answer)).count();
    Round {
        fault: history.fault,
        strikes,
        ops: ops().count() + history.store.txns.len() + history.ttl.calls.len(),
        acknowledged: count(|op| !is_unknown(op) && !is_refused(op))
            + txns(|outcome| matches!(outcome, TxnOutcome::Done { .. }))
            + calls(|answer| !matches!(answer, LeaseAnswer::Refused(_) | LeaseAnswer::Unknown(_))),
        unknown: count(is_unknown)
            + txns(|outcome| matches!(outcome, TxnOutcome::Unknown(_)))
            + calls(|answer| matches!(answer, LeaseAnswer::Unknown(_))),
        events: watched + on_store + behind + on_leases,
        notes: notes(&history),
        violations: history.violations.clone(),
        history: Some(history),
    }
}

/// The log's growth, and what leases and compactions came to.
fn notes(history: &History) -> Vec<String> {
    let mut notes: Vec<String> = growth::note(&history.growth).into_iter().collect();
    let calls = &history.ttl.calls;
    let asked = |ask: fn(&LeaseAsk) -> bool| calls.iter().filter(|call| ask(&call.ask) && call.says_alive()).count();
    let (granted, renewed) = (asked(|ask| *ask == LeaseAsk::Grant), asked(|ask| *ask == LeaseAsk::KeepAlive));
    let gone = history.ttl.seen.first().map_or(0, |seen| seen.iter().filter(|(_, one)| one.value.is_none()).count());
    notes.push(format!("{granted} leases with times to live, renewed {renewed} times; {gone} of their keys went"));
    let log = &history.compaction;
    let done = log.compactions.iter().filter(|one| one.outcome == CompactionOutcome::Done).count();
    let ended = |wanted: fn(&Ending) -> bool| log.resumes.iter().filter(|resume| wanted(&resume.ending)).count();
    let (told, all) = (ended(|ending| matches!(ending, Ending::Compacted(_))), log.resumes.len());
    notes
        .push(format!("{done} compactions; of {all} watches that began around what was forgotten {told} were told so"));
    notes
}

fn is_unknown(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Unknown(_))
}

fn is_refused(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Refused { .. })
}
