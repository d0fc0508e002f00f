//! Short ways to write histories in tests. Times are milliseconds.

use std::time::Duration;

use crate::history::{Age, Call, Event, Kind, Object, Op, Outcome, Version};
use crate::truth::Truth;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn version(revision: u64, value: &str) -> Version {
    Version { revision, value: value.into() }
}

pub(crate) fn op(invoked: u64, returned: u64, call: Call, outcome: Outcome) -> Op {
    Op { process: "p".into(), replica: 1, invoked: ms(invoked), returned: ms(returned), call, outcome }
}

pub(crate) fn create(name: &str, value: &str) -> Call {
    Call::Create { name: name.into(), value: value.into() }
}

pub(crate) fn update(name: &str, value: &str, on: Version) -> Call {
    Call::Update { name: name.into(), value: value.into(), on }
}

pub(crate) fn delete(name: &str, on: Version) -> Call {
    Call::Delete { name: name.into(), on }
}

pub(crate) fn get(name: &str) -> Call {
    Call::Get { name: name.into() }
}

pub(crate) fn list(age: Age) -> Call {
    Call::List { workload: "w".into(), age }
}

pub(crate) fn got(revision: u64, value: &str) -> Outcome {
    Outcome::Got(Some(version(revision, value)))
}

pub(crate) fn refused(code: u16) -> Outcome {
    Outcome::Refused { code, why: "no".into() }
}

pub(crate) fn unknown() -> Outcome {
    Outcome::Unknown("cut".into())
}

/// Red when the value ends in an even digit.
pub(crate) fn event(kind: Kind, revision: u64, name: &str, value: &str) -> Event {
    let even = value.ends_with(['0', '2', '4', '6', '8']);
    let colour = if even { "red" } else { "blue" }.into();
    let hash = value.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte));
    Event {
        kind,
        object: Object { name: name.into(), revision, value: value.into(), workload: "w".into(), colour, hash },
    }
}

pub(crate) fn truth(events: &[(Kind, u64, &str, &str)]) -> Truth {
    let events: Vec<Event> = events.iter().map(|(kind, at, name, value)| event(*kind, *at, name, value)).collect();
    Truth { from: 10, upto: events.last().map_or(10, Event::revision), events }
}

/// Exactly one violation, which says this.
#[track_caller]
pub(crate) fn caught(violations: &[String], what: &str) {
    assert!(violations.iter().any(|one| one.contains(what)), "{what:?} is not among {violations:#?}");
}
