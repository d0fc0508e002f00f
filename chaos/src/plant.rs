//! Bugs planted into what was really seen: the positive control of the checkers. One that does not find them in
//! the history of a good round is worth nothing.

mod compaction;
mod transactions;
mod ttl;

use std::time::Duration;

use crate::history::{Call, End, Event, Kind, LeaseVersion, Message, Op, Outcome, Reign, Selector, Start, WatchLog};
use crate::judge::CHECKERS;
use crate::round::History;
use crate::workloads::{append, register, set};

/// Changes the history as a bug would have; `false` when there is no place for it.
type Plant = fn(&mut History) -> bool;

/// Every bug there is: the checker that has to find it, what it would be called, how it is planted.
const BUGS: [(&str, &str, Plant); 75] = [
    ("serializable", "a lost write", lost_write),
    ("serializable", "an effect of what was refused", effect_of_refused),
    ("serializable", "a lost update", lost_update),
    ("serializable", "a stale read", |history| stale_read(history, "")),
    ("serializable", "a list without an object", short_list),
    ("serializable", "an object twice in a list", doubled_list),
    ("serializable", "pages of different states", torn_list),
    ("serializable", "a write before its time", write_before_its_time),
    ("serializable", "a value that nobody wrote", phantom),
    ("linearizable", "a stale read", |history| stale_read(history, register::WORKLOAD)),
    ("linearizable", "a refusal for no reason", refused_for_nothing),
    ("set", "a lost object", |history| without_final(history, set::WORKLOAD)),
    ("set", "an object that nobody made", |history| renamed_final(history, set::WORKLOAD)),
    ("append", "a lost element", lost_element),
    ("append", "an element twice", doubled_element),
    ("watch", "a missed event", |history| with_events(history, |messages, at| drop(messages.remove(at)))),
    ("watch", "an event twice", |history| {
        with_events(history, |messages, at| messages.insert(at, messages[at].clone()))
    }),
    ("watch", "events in another order", |history| with_events(history, |messages, at| messages.swap(at, at + 1))),
    ("watch", "an event of another type", |history| with_events(history, |messages, at| change(&mut messages[at]))),
    ("watch", "an event with an older object", |history| with_events(history, |messages, at| age(&mut messages[at]))),
    ("watch", "an event that does not match", not_matching),
    ("watch", "an event from before the start", before_the_start),
    ("watch", "a bookmark before its event", |history| with_events(history, bookmark)),
    ("watch", "410 inside the window", gone),
    ("watch", "a watcher that does not catch up", stuck),
    ("lease", "two leaders", two_leaders),
    ("lease", "two holders of one epoch", two_holders),
    ("lease", "a write of a leader that was replaced", replaced_leader),
    ("lease", "a takeover too early", early_takeover),
    ("transactions", "a lost transaction", transactions::lost),
    ("transactions", "half a transaction", transactions::half),
    ("transactions", "an effect of what was refused", transactions::effect_of_refused),
    ("transactions", "a lost update", transactions::lost_update),
    ("transactions", "a stale read", transactions::stale),
    ("transactions", "lists of different moments", transactions::skewed),
    ("transactions", "a missed event", |history| {
        transactions::with_message(history, |messages, at| drop(messages.remove(at)))
    }),
    ("transactions", "an event twice", |history| {
        transactions::with_message(history, |messages, at| messages.insert(at, messages[at].clone()))
    }),
    ("transactions", "a revision in two messages", transactions::torn_message),
    ("transactions", "compacted inside the window", transactions::compacted),
    ("transactions", "an event that one replica does not know", transactions::other_teller),
    ("cycles", "a stale read", transactions::stale),
    ("cycles", "an append that does not know of the one before", transactions::forgotten_append),
    ("merge", "an event that one replica does not know", |history| with_teller(history, |told| drop(told.pop()))),
    ("merge", "another object on one replica", |history| {
        with_teller(history, |told| told.iter_mut().for_each(|event| event.object.hash ^= 1))
    }),
    ("convergence", "another state on one replica", diverged),
    ("log", "a panic", panicked),
    ("ttl", "a lease that ends early", ttl::early),
    ("ttl", "a key that goes before its lease's time", ttl::early_key),
    ("ttl", "keys that are seen to go before their lease's time", ttl::early_event),
    ("ttl", "a lease that never ends", ttl::never),
    ("ttl", "a lease that ends late", ttl::late),
    ("ttl", "a lease that is left", ttl::left),
    ("ttl", "a key that outlives its lease", ttl::outlives),
    ("ttl", "keys of one lease that go apart", ttl::apart),
    ("ttl", "a lease alive after it was gone", ttl::undead),
    ("ttl", "a lease alive after it was revoked", ttl::unrevoked),
    ("ttl", "a lease without its key", ttl::lost_key),
    ("ttl", "a key that was never attached", ttl::lost_attachment),
    ("ttl", "a missed event", ttl::missed),
    ("ttl", "an event that one replica does not know", ttl::other_teller),
    ("compaction", "a watch that is not told of a compaction", compaction::silent),
    ("compaction", "a compaction before what was asked for", compaction::too_low),
    ("compaction", "a compaction that nobody asked for", compaction::for_nothing),
    ("compaction", "an event lost behind a compaction", compaction::lost_event),
    ("compaction", "a deletion lost behind a compaction", compaction::lost_deletion),
    ("compaction", "an event twice", compaction::doubled_event),
    ("compaction", "events in another order", compaction::swapped_events),
    ("compaction", "another state of the past", compaction::other_past),
    ("compaction", "a state of the past refused for nothing", compaction::past_for_nothing),
    ("compaction", "a list of the past refused for nothing", compaction::refused_list),
    ("compaction", "a page refused for nothing", compaction::refused_page),
    ("compaction", "a list of the past without an object", compaction::short_list),
    ("compaction", "an object's event lost behind a compaction", compaction::lost_object_event),
    ("watch", "410 behind a compaction", compaction::gone),
    ("growth", "a log that grows for nothing", compaction::growth),
];

/// The bugs that their checker did not find, of those that there was a place for; and how many that were.
pub fn missed(history: &History) -> (Vec<String>, usize) {
    let (mut missed, mut planted) = (Vec::new(), 0);
    for (checker, name, plant) in BUGS {
        let mut history = history.clone();
        if !plant(&mut history) {
            continue;
        }
        planted += 1;
        let found = CHECKERS.iter().any(|(other, check)| *other == checker && !check(&history).is_empty());
        if !found {
            missed.push(format!("{name} ({checker})"));
        }
    }
    (missed, planted)
}

fn created(op: &Op) -> bool {
    matches!((&op.call, &op.outcome), (Call::Create { .. }, Outcome::Written(_)))
}

fn updated(op: &Op) -> bool {
    matches!((&op.call, &op.outcome), (Call::Update { .. }, Outcome::Written(_)))
}

/// From the truth, and from all who watched: only who wrote it knows.
fn lost_write(history: &mut History) -> bool {
    let Some(name) = history.ops.iter().rfind(|op| created(op)).and_then(|op| op.call.name()).map(str::to_owned) else {
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
    let Some(first) = history.ops.iter().find(|op| updated(op)).cloned() else { return false };
    let second = history.ops.iter_mut().rfind(|op| op.call.name() == first.call.name() && updated(op));
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

/// The last read of an object shows what the first one did.
fn stale_read(history: &mut History, workload: &str) -> bool {
    let found = |op: &Op| op.process.starts_with(workload) && matches!(op.outcome, Outcome::Got(Some(_)));
    let Some(early) = history.ops.iter().find(|op| found(op)).cloned() else { return false };
    let late = history.ops.iter_mut().rfind(|op| op.call == early.call && found(op));
    let Some(late) = late.filter(|late| late.outcome != early.outcome) else { return false };
    late.outcome = early.outcome;
    true
}

fn full_list(history: &mut History) -> Option<&mut Op> {
    let is_full = |op: &&mut Op| matches!(&op.outcome, Outcome::Listed { objects, .. } if !objects.is_empty());
    history.ops.iter_mut().find(is_full)
}

fn short_list(history: &mut History) -> bool {
    match full_list(history).map(|op| &mut op.outcome) {
        Some(Outcome::Listed { objects, .. }) => objects.pop().is_some(),
        _ => false,
    }
}

fn doubled_list(history: &mut History) -> bool {
    match full_list(history).map(|op| &mut op.outcome) {
        Some(Outcome::Listed { objects, .. }) => {
            objects.push(objects[0].clone());
            true
        }
        _ => false,
    }
}

fn torn_list(history: &mut History) -> bool {
    full_list(history).map(|op| op.outcome = Outcome::Torn { first: 1, then: 2 }).is_some()
}

fn write_before_its_time(history: &mut History) -> bool {
    let end = history.ops.iter().map(|op| op.returned).max().unwrap_or_default();
    let write = history.ops.iter_mut().find(|op| op.is_acknowledged_write());
    write.map(|op| (op.invoked, op.returned) = (end, end + Duration::from_secs(1))).is_some()
}

fn phantom(history: &mut History) -> bool {
    let event = history.truth.events.iter_mut().rfind(|event| event.kind != Kind::Deleted);
    event.map(|event| event.object.value = "planted".to_owned()).is_some()
}

/// The last update of a register was refused although its version was the newest.
fn refused_for_nothing(history: &mut History) -> bool {
    let of_register = |op: &&mut Op| op.process.starts_with(register::WORKLOAD) && updated(op);
    let last = history.ops.iter_mut().filter(|op| of_register(op)).max_by_key(|op| op.returned);
    last.map(|op| op.outcome = Outcome::Refused { code: 404, why: "planted".to_owned() }).is_some()
}

/// Something of this workload that is there in the end.
fn last_created<'a>(history: &'a mut History, workload: &str) -> Option<(usize, &'a mut Event)> {
    let of_workload = |event: &Event| event.kind != Kind::Deleted && event.object.workload == workload;
    let at = history.truth.events.iter().rposition(of_workload)?;
    Some((at, &mut history.truth.events[at]))
}

fn without_final(history: &mut History, workload: &str) -> bool {
    let written = |name: &str, ops: &[Op]| ops.iter().any(|op| created(op) && op.call.name() == Some(name));
    let is_known = |event: &Event| event.object.workload == workload && written(&event.object.name, &history.ops);
    let Some(at) = history.truth.events.iter().rposition(is_known) else { return false };
    history.truth.events.remove(at);
    true
}

fn renamed_final(history: &mut History, workload: &str) -> bool {
    last_created(history, workload).map(|(_, event)| event.object.name.push_str("-planted")).is_some()
}

fn lost_element(history: &mut History) -> bool {
    let Some((_, event)) = last_created(history, append::WORKLOAD) else { return false };
    let Some((_, rest)) = event.object.value.split_once(crate::checkers::append::SEPARATOR) else { return false };
    event.object.value = rest.to_owned();
    true
}

fn doubled_element(history: &mut History) -> bool {
    let Some((_, event)) = last_created(history, append::WORKLOAD) else { return false };
    let separator = crate::checkers::append::SEPARATOR;
    let Some(last) = event.object.value.split(separator).next_back().map(str::to_owned) else { return false };
    event.object.value = format!("{}{separator}{last}", event.object.value);
    true
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

/// A watcher of one colour is shown an object that never had it.
fn not_matching(history: &mut History) -> bool {
    let of_colour = |log: &&mut WatchLog| matches!(log.selector, Selector::Colour(_));
    let Some(log) = history.watches.iter_mut().find(of_colour) else { return false };
    let seen = |event: &&Event| event.kind == Kind::Added && !log.selector.matches(&event.object);
    let Some(stranger) = history.truth.events.iter().rfind(seen).cloned() else { return false };
    let place = log.connections.iter_mut().find_map(|connection| {
        let at = connection.messages.iter().position(|message| revision(message) > stranger.revision())?;
        let after_start = !matches!(connection.start, Start::After(start) if start >= stranger.revision());
        after_start.then_some((connection, at))
    });
    place.map(|(connection, at)| connection.messages.insert(at, Message::Event(stranger))).is_some()
}

fn revision(message: &Message) -> u64 {
    match message {
        Message::Event(event) => event.revision(),
        Message::Bookmark { revision, .. } => *revision,
    }
}

/// A connection is shown again what it had asked to be left out.
fn before_the_start(history: &mut History) -> bool {
    let connections = history.watches.iter_mut().flat_map(|log| &mut log.connections);
    for connection in connections {
        let Start::After(start) = connection.start else { continue };
        if let Some(early) = history.truth.events.iter().rfind(|event| event.revision() <= start) {
            connection.messages.insert(0, Message::Event(early.clone()));
            return true;
        }
    }
    false
}

/// While nothing of the round was compacted.
fn gone(history: &mut History) -> bool {
    let followed = history.watches.iter_mut().filter(|log: &&mut WatchLog| log.resumes);
    let last = followed.filter_map(|log| log.connections.last_mut()).next();
    last.map(|connection| connection.end = End::Error { code: 410, why: "planted".to_owned() }).is_some()
}

fn stuck(history: &mut History) -> bool {
    history.watches.iter_mut().find(|log| log.caught_up).map(|log| log.caught_up = false).is_some()
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

/// Another has the Lease in the middle of two renewals.
fn early_takeover(history: &mut History) -> bool {
    let versions = &mut history.leases.versions;
    let renewed = |pair: &[LeaseVersion]| !pair[0].holder.is_empty() && pair[0].holder == pair[1].holder;
    let written = |version: &LeaseVersion| {
        let own = |attempt: &&crate::history::LeaseAttempt| attempt.attempt == version.attempt;
        history.leases.attempts.iter().find(own).is_some_and(|one| matches!(one.outcome, Outcome::Written(_)))
    };
    let place = versions.windows(2).position(|pair| renewed(pair) && pair.iter().all(written));
    place.map(|at| versions[at + 1].holder = "planted".to_owned()).is_some()
}

/// What the last replica tells.
fn with_teller(history: &mut History, plant: impl FnOnce(&mut Vec<Event>)) -> bool {
    let told = history.told.last_mut().filter(|(_, events)| !events.is_empty());
    told.map(|(_, events)| plant(events)).is_some()
}

fn diverged(history: &mut History) -> bool {
    let last = history.looks.last_mut().and_then(|last| last.last_mut());
    last.map(|sample| sample.hash.push('x')).is_some()
}

fn panicked(history: &mut History) -> bool {
    let log = history.logs.last_mut();
    log.map(|(_, text)| text.push_str("\nthread 'tokio-rt' panicked at src/planted.rs:1:1:\n")).is_some()
}
