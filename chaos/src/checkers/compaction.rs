//! What is forgotten is said to be so, and nothing else is: whoever goes on from a revision that is forgotten is told
//! that, whoever goes on from a later one misses nothing, and a state of the past is what it was or is refused.
//!
//! Of etcd's watches and reads all of it is known for certain: a linearizable read through the same replica comes
//! first, after which a compaction that was acknowledged before has reached that replica. Kubernetes' watches may be
//! told by a replica what the store has forgotten. They are told 410 only of what may be forgotten, and so are lists.

use std::collections::BTreeMap;

use super::{Violations, serializable, watch};
use crate::history::{
    Age, Call, CompactionLog, CompactionOutcome, Ending, Keyed, Op, Outcome, PastRead, PastState, Resume,
};

/// HTTP's for what is forgotten.
const GONE: u16 = 410;

/// `ops`: the round's, which began after revision `from`.
pub fn check(log: &CompactionLog, ops: &[Op], from: u64) -> Violations {
    let mut violations = Violations::new();
    violations.extend(log.resumes.iter().filter_map(|resume| Some(say(resume, &resumed(resume, log)?))));
    violations.extend(log.reads.iter().filter_map(|read| Some(say_read(read, &was(read, log)?))));
    violations.extend(ops.iter().filter_map(|op| refused(op, log, from)));
    violations.extend(log.ops.iter().filter_map(|op| refused(op, log, log.truth.from)));
    violations.extend(serializable::check(&log.ops, &log.truth));
    violations.extend(log.watch.iter().flat_map(|watched| watch::check(watched, &log.truth, log)));
    violations.extend(void(log));
    violations
}

fn say(resume: &Resume, why: &str) -> String {
    let (start, through, at) = (resume.start, resume.replica, resume.invoked.as_secs_f64());
    format!("a watch of {} from {start} through {through} at {at:.3} s {why}", resume.prefix)
}

fn say_read(read: &PastRead, why: &str) -> String {
    let (revision, through, at) = (read.revision, read.replica, read.invoked.as_secs_f64());
    format!("{} at {revision} through {through} at {at:.3} s {why}", read.prefix)
}

/// What is wrong with a watch, if anything.
fn resumed(resume: &Resume, log: &CompactionLog) -> Option<String> {
    let came: Vec<&Keyed> = resume.messages.iter().flatten().collect();
    let upto = match resume.ending {
        Ending::Whole => resume.upto,
        _ => came.last().map_or(0, |last| last.revision),
    };
    let wanted = |keyed: &&Keyed| {
        keyed.key.starts_with(&resume.prefix) && keyed.revision >= resume.start && keyed.revision <= upto
    };
    let expected: Vec<&Keyed> = log.told.iter().filter(wanted).collect();
    if let Some(at) = (0..expected.len().max(came.len())).find(|at| expected.get(*at) != came.get(*at)) {
        return Some(format!("was told {:?} where {:?} came next", came.get(at), expected.get(at)));
    }
    let mut ends =
        resume.messages.windows(2).filter_map(|pair| Some((pair[0].last()?.revision, pair[1].first()?.revision)));
    if let Some((torn, _)) = ends.find(|(end, begin)| end == begin) {
        return Some(format!("was told in two messages what happened at {torn}"));
    }
    let forgotten = log.forgotten(resume.invoked);
    match resume.ending {
        Ending::Compacted(at) if at < resume.start => {
            Some(format!("was told that it is compacted at {at}, before that"))
        }
        Ending::Compacted(at) if !log.may_have_forgotten(resume.start, resume.returned) => {
            Some(format!("was told that it is compacted at {at}, which nobody asked for"))
        }
        Ending::Compacted(_) | Ending::Broken(_) => None,
        Ending::Whole | Ending::Left if resume.start < forgotten => {
            Some(format!("was not told that it is compacted at {forgotten}"))
        }
        Ending::Whole | Ending::Left => None,
    }
}

/// What is wrong with a state of the past, if anything.
fn was(read: &PastRead, log: &CompactionLog) -> Option<String> {
    let found = match &read.state {
        PastState::Unknown(_) => return None,
        PastState::Compacted if log.may_have_forgotten(read.revision, read.returned) => return None,
        PastState::Compacted => return Some("is said to be compacted, which nobody asked for".to_owned()),
        PastState::Found(found) => found,
    };
    let mut state: BTreeMap<&str, &str> = BTreeMap::new();
    let own = log.told.iter().filter(|keyed| keyed.key.starts_with(&read.prefix) && keyed.revision <= read.revision);
    for keyed in own {
        match &keyed.value {
            Some(value) => state.insert(&keyed.key, value),
            None => state.remove(keyed.key.as_str()),
        };
    }
    let forgotten = log.forgotten(read.invoked);
    let found: BTreeMap<&str, &str> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    match found == state {
        false => Some(format!("was {state:?}, not {found:?}")),
        true if read.revision < forgotten => Some(format!("was answered, though it is compacted at {forgotten}")),
        true => None,
    }
}

/// A list that was refused as too old. What a list in pages had begun with is not known, only that it is not older than
/// `from`.
fn refused(op: &Op, log: &CompactionLog, from: u64) -> Option<String> {
    let Outcome::Refused { code: GONE, why } = &op.outcome else { return None };
    let asked = match op.call {
        Call::List { age: Age::Exact(revision), .. } => revision,
        _ => from,
    };
    let fine = matches!(op.call, Call::List { .. }) && log.may_have_forgotten(asked, op.returned);
    let (process, through, at) = (&op.process, op.replica, op.invoked.as_secs_f64());
    (!fine).then(|| format!("{process} {:?} through {through} at {at:.3} s was refused for no reason: {why}", op.call))
}

/// Nothing was compacted, or nobody looked.
fn void(log: &CompactionLog) -> Option<String> {
    let done = log.compactions.iter().filter(|one| one.outcome == CompactionOutcome::Done).count();
    let ended = |wanted: fn(&Ending) -> bool| log.resumes.iter().filter(|resume| wanted(&resume.ending)).count();
    let told = ended(|ending| matches!(ending, Ending::Compacted(_)));
    let whole = ended(|ending| *ending == Ending::Whole);
    let few = done == 0 || told == 0 || whole == 0;
    few.then(|| format!("void: {done} compactions, {told} watches that were told of them, {whole} that were whole"))
}

#[cfg(test)]
mod tests;
