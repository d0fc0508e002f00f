//! Bugs planted into what was really seen: the positive control of the checkers. One that does not find them in
//! the history of a good round is worth nothing.

use std::time::Duration;

use crate::history::{Call, End, Event, Kind, LeaseVersion, Message, Outcome, Reign, WatchLog};
use crate::round::{History, judge};

/// Changes the history as a bug would have; `false` when there is no place for it.
type Plant = fn(&mut History) -> bool;

/// Every bug there is, by what it would be called.
const BUGS: [(&str, Plant); 16] = [
    ("a lost write", lost_write),
    ("an effect of what was refused", effect_of_refused),
    ("a lost update", lost_update),
    ("a stale read", stale_read),
    ("a list without an object", short_list),
    ("a write before its time", write_before_its_time),
    ("a missed event", |history| with_events(history, |messages, at| drop(messages.remove(at)))),
    ("an event twice", |history| with_events(history, |messages, at| messages.insert(at, messages[at].clone()))),
    ("events in another order", |history| with_events(history, |messages, at| messages.swap(at, at + 1))),
    ("an event of another type", |history| with_events(history, |messages, at| change(&mut messages[at]))),
    ("an event with an older object", |history| with_events(history, |messages, at| age(&mut messages[at]))),
    ("a bookmark before its event", |history| with_events(history, bookmark)),
    ("410 inside the window", gone),
    ("two leaders", two_leaders),
    ("two holders of one epoch", two_holders),
    ("a write of a leader that was replaced", replaced_leader),
];

/// The bugs that were not found, of those that there was a place for; and how many that were.
pub fn missed(history: &History) -> (Vec<&'static str>, usize) {
    let (mut missed, mut planted) = (Vec::new(), 0);
    for (name, plant) in BUGS {
        let mut history = history.clone();
        if !plant(&mut history) {
            continue;
        }
        planted += 1;
        if judge(&history).is_empty() {
            missed.push(name);
        }
    }
    (missed, planted)
}

/// From the truth, and from all who watched: only who wrote it knows.
fn lost_write(history: &mut History) -> bool {
    let lost = |op: &&crate::history::Op| matches!((&op.call, &op.outcome), (Call::Create { .. }, Outcome::Written(_)));
    let Some(name) = history.ops.iter().rfind(lost).and_then(|op| op.call.name()).map(str::to_owned) else {
        return false;
    };
    let other = |event: &Event| event.object.name != name;
    history.truth.events.retain(other);
    for connection in history.watches.iter_mut().flat_map(|log| &mut log.connections) {
        connection.messages.retain(|message| !matches!(message, Message::Event(event) if !other(event)));
    }
    true
}

fn effect_of_refused(history: &mut History) -> bool {
    let acknowledged = history.ops.iter_mut().rfind(|op| op.is_acknowledged_write() && op.call.value().is_some());
    acknowledged.map(|op| op.outcome = Outcome::Refused { code: 409, why: "planted".to_owned() }).is_some()
}

fn lost_update(history: &mut History) -> bool {
    let updated =
        |op: &&crate::history::Op| matches!((&op.call, &op.outcome), (Call::Update { .. }, Outcome::Written(_)));
    let Some(first) = history.ops.iter().find(updated).cloned() else { return false };
    let second = history.ops.iter_mut().rfind(|op| op.call.name() == first.call.name() && updated(&&**op));
    match (second, first.call) {
        (Some(second), Call::Update { on: base, .. }) => match &mut second.call {
            Call::Update { on, .. } if *on != base => {
                *on = base;
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn stale_read(history: &mut History) -> bool {
    let reads = |outcome: &Outcome| match outcome {
        Outcome::Got(Some(version)) => Some(version.clone()),
        _ => None,
    };
    let Some(early) = history.ops.iter().find(|op| reads(&op.outcome).is_some()).cloned() else { return false };
    let late = history.ops.iter_mut().rfind(|op| op.call == early.call && reads(&op.outcome).is_some());
    let Some(late) = late.filter(|late| late.outcome != early.outcome) else { return false };
    late.outcome = early.outcome;
    true
}

fn short_list(history: &mut History) -> bool {
    let full = history.ops.iter_mut().find_map(|op| match &mut op.outcome {
        Outcome::Listed { objects, .. } if !objects.is_empty() => Some(objects),
        _ => None,
    });
    full.and_then(Vec::pop).is_some()
}

fn write_before_its_time(history: &mut History) -> bool {
    let end = history.ops.iter().map(|op| op.returned).max().unwrap_or_default();
    let write = history.ops.iter_mut().find(|op| op.is_acknowledged_write());
    write.map(|op| (op.invoked, op.returned) = (end, end + Duration::from_secs(1))).is_some()
}

/// In the middle of two events of the longest connection of a watcher that saw everything.
fn with_events(history: &mut History, plant: impl FnOnce(&mut Vec<Message>, usize)) -> bool {
    let is_event = |message: &Message| matches!(message, Message::Event(_));
    let connections = history.watches.iter_mut().filter(|log| log.resumes).flat_map(|log| &mut log.connections);
    let Some(longest) = connections.max_by_key(|connection| connection.messages.len()) else { return false };
    let middle = longest.messages.len() / 2;
    let pairs = longest.messages.windows(2).enumerate().skip(middle.saturating_sub(2));
    let place = pairs.filter(|(_, pair)| pair.iter().all(is_event)).map(|(at, _)| at).next();
    place.map(|at| plant(&mut longest.messages, at)).is_some()
}

fn change(message: &mut Message) {
    if let Message::Event(event) = message {
        event.kind = if event.kind == Kind::Added { Kind::Modified } else { Kind::Added };
    }
}

fn age(message: &mut Message) {
    if let Message::Event(event) = message {
        event.object.hash ^= 1;
    }
}

fn bookmark(messages: &mut Vec<Message>, at: usize) {
    if let Message::Event(event) = &messages[at] {
        let revision = event.revision();
        messages.insert(at, Message::Bookmark { revision, initial_end: false });
    }
}

fn gone(history: &mut History) -> bool {
    let last = history.watches.iter_mut().find_map(|log: &mut WatchLog| log.connections.last_mut());
    last.map(|connection| connection.end = End::Error { code: 410, why: "planted".to_owned() }).is_some()
}

fn two_leaders(history: &mut History) -> bool {
    let Some(reign) = history.leases.reigns.iter().find(|reign| reign.until > reign.from).cloned() else {
        return false;
    };
    history.leases.reigns.push(Reign { candidate: "planted".to_owned(), ..reign });
    true
}

fn two_holders(history: &mut History) -> bool {
    let Some(version) = history.leases.versions.last().filter(|version| !version.holder.is_empty()).cloned() else {
        return false;
    };
    history.leases.versions.push(LeaseVersion { holder: "planted".to_owned(), ..version });
    true
}

fn replaced_leader(history: &mut History) -> bool {
    let mut counters: Vec<&mut Event> =
        history.truth.events.iter_mut().filter(|event| event.object.name.ends_with("-counter")).collect();
    let [.., before, _] = &mut counters[..] else { return false };
    let Some((_, rest)) = before.object.value.split_once(':') else { return false };
    // The one after it is of an older epoch then.
    before.object.value = format!("{}:{rest}", u64::MAX);
    true
}
