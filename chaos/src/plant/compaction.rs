//! Bugs of compactions, of what goes on behind them, and of logs that grow for nothing.

use crate::history::{Age, Call, End, Ending, Keyed, Message, Op, Outcome, PastState, Resume, Start};
use crate::round::History;

fn told_of_compaction(history: &mut History) -> Option<&mut Resume> {
    let told = |resume: &&mut Resume| matches!(resume.ending, Ending::Compacted(_));
    history.compaction.resumes.iter_mut().rfind(told)
}

/// A watch goes on with what is left, and its watcher knows nothing of what is not.
pub(super) fn silent(history: &mut History) -> bool {
    let all = history.compaction.told.clone();
    let Some(resume) = told_of_compaction(history) else { return false };
    let Ending::Compacted(at) = resume.ending else { return false };
    let left = |keyed: &&Keyed| keyed.key.starts_with(&resume.prefix) && (at..=resume.upto).contains(&keyed.revision);
    resume.messages = vec![all.iter().filter(left).cloned().collect()];
    resume.ending = Ending::Whole;
    true
}

pub(super) fn too_low(history: &mut History) -> bool {
    let resume = told_of_compaction(history);
    resume.map(|resume| resume.ending = Ending::Compacted(resume.start - 1)).is_some()
}

fn whole(history: &mut History, events: usize) -> Option<&mut Resume> {
    let long = |resume: &&mut Resume| {
        resume.ending == Ending::Whole && resume.messages.iter().map(Vec::len).sum::<usize>() >= events
    };
    history.compaction.resumes.iter_mut().rfind(long)
}

pub(super) fn for_nothing(history: &mut History) -> bool {
    // Later than everything that anyone asked to forget.
    let most = history.compaction.compactions.iter().map(|one| one.revision).max().unwrap_or(0);
    let later = |resume: &&mut Resume| resume.ending == Ending::Whole && resume.start > most;
    let resume = history.compaction.resumes.iter_mut().rfind(later);
    resume.map(|resume| resume.ending = Ending::Compacted(resume.start + 1)).is_some()
}

fn with_message(history: &mut History, plant: impl FnOnce(&mut Vec<Keyed>, usize)) -> bool {
    let Some(resume) = whole(history, 3) else { return false };
    let longest = resume.messages.iter_mut().max_by_key(|message| message.len());
    let Some(message) = longest.filter(|message| message.len() > 2) else { return false };
    let middle = message.len() / 2;
    plant(message, middle);
    true
}

pub(super) fn lost_event(history: &mut History) -> bool {
    with_message(history, |message, at| drop(message.remove(at)))
}

pub(super) fn doubled_event(history: &mut History) -> bool {
    with_message(history, |message, at| message.insert(at, message[at].clone()))
}

pub(super) fn swapped_events(history: &mut History) -> bool {
    with_message(history, |message, at| message.swap(at - 1, at))
}

/// What was deleted at or behind what is forgotten.
pub(super) fn lost_deletion(history: &mut History) -> bool {
    let is_deletion = |keyed: &Keyed| keyed.value.is_none();
    let with =
        |resume: &&mut Resume| resume.ending == Ending::Whole && resume.messages.iter().flatten().any(is_deletion);
    let Some(resume) = history.compaction.resumes.iter_mut().rfind(with) else { return false };
    for message in &mut resume.messages {
        if let Some(at) = message.iter().position(is_deletion) {
            message.remove(at);
            return true;
        }
    }
    false
}

pub(super) fn other_past(history: &mut History) -> bool {
    let mut found = history.compaction.reads.iter_mut().rev().filter_map(|read| match &mut read.state {
        PastState::Found(found) if !found.is_empty() => Some(found),
        _ => None,
    });
    found.next().and_then(|found| found.values_mut().next()).map(|value| value.push('x')).is_some()
}

pub(super) fn past_for_nothing(history: &mut History) -> bool {
    let most = history.compaction.compactions.iter().map(|one| one.revision).max().unwrap_or(0);
    let mut later = history.compaction.reads.iter_mut().rev().filter(|read| read.revision > most);
    later.next().map(|read| read.state = PastState::Compacted).is_some()
}

fn exact(op: &Op) -> bool {
    matches!((&op.call, &op.outcome), (Call::List { age: Age::Exact(_), .. }, Outcome::Listed { .. }))
}

/// A list of the past, which is kept, in the middle of the round.
pub(super) fn refused_list(history: &mut History) -> bool {
    let op = history.ops.iter_mut().find(|op| exact(op));
    op.map(|op| op.outcome = Outcome::Refused { code: 410, why: "planted".to_owned() }).is_some()
}

pub(super) fn refused_page(history: &mut History) -> bool {
    let latest = |op: &&mut Op| matches!(op.call, Call::List { age: Age::Latest, .. });
    let op = history.ops.iter_mut().find(latest);
    op.map(|op| op.outcome = Outcome::Refused { code: 410, why: "planted".to_owned() }).is_some()
}

/// A list of the strip is without an object.
pub(super) fn short_list(history: &mut History) -> bool {
    let mut lists = history.compaction.ops.iter_mut().rev().filter_map(|op| match &mut op.outcome {
        Outcome::Listed { objects, .. } if !objects.is_empty() => Some(objects),
        _ => None,
    });
    lists.next().and_then(Vec::pop).is_some()
}

/// A watch of Kubernetes' of the strip that was told all.
fn strip_watch(history: &mut History) -> Option<&mut crate::history::Connection> {
    let connections = &mut history.compaction.watch.as_mut()?.connections;
    connections.iter_mut().rfind(|connection| connection.end == End::Cancelled && connection.messages.len() > 2)
}

pub(super) fn lost_object_event(history: &mut History) -> bool {
    let events = |message: &Message| matches!(message, Message::Event(_));
    let Some(connection) = strip_watch(history) else { return false };
    // Not the last: that nobody would miss.
    let place = connection.messages[..connection.messages.len() - 1].iter().position(events);
    place.map(|at| connection.messages.remove(at)).is_some()
}

pub(super) fn gone(history: &mut History) -> bool {
    let Some(upto) = history.compaction.compactions.iter().map(|one| one.revision).max() else { return false };
    let later =
        |connection: &&mut crate::history::Connection| matches!(connection.start, Start::After(start) if start >= upto);
    let connections = history.watches.iter_mut().flat_map(|log| &mut log.connections);
    let last = connections.filter(later).last();
    last.map(|connection| connection.end = End::Error { code: 410, why: "planted".to_owned() }).is_some()
}

/// Entries that come to nothing, again and again.
pub(super) fn growth(history: &mut History) -> bool {
    let last = history.growth.iter_mut().rfind(|counts| counts.counts.len() > 1);
    let count = last.and_then(|counts| counts.counts.last_mut());
    count.map(|count| count.entries.insert("planted refused".into(), 10_000_000)).is_some()
}
