//! Acknowledged once, there once; refused, not there; unknown, there at most once; there, asked for.

use std::collections::BTreeSet;

use super::book::Book;
use super::describe;
use crate::checkers::Violations;
use crate::history::{Call, Event, Kind, Op, Outcome};
use crate::truth::Truth;

pub(super) fn check(ops: &[Op], truth: &Truth, book: &Book<'_>) -> Violations {
    let mut violations = Violations::new();
    for op in ops.iter().filter(|op| op.call.is_write()) {
        violations.extend(one(op, &book.events_of(&op.call), book));
    }
    violations.extend(phantoms(ops, truth, book));
    violations.extend(doubly_deleted(ops));
    violations
}

fn one(op: &Op, events: &[&Event], book: &Book<'_>) -> Violations {
    let mut violations = Violations::new();
    if events.len() > 1 {
        violations.push(format!("{} happened {} times", describe(op), events.len()));
    }
    let event = events.first();
    match (&op.outcome, event) {
        (Outcome::Written(_) | Outcome::Deleted, None) => {
            violations.push(format!("lost: {} was acknowledged ({:?})", describe(op), op.outcome));
        }
        (Outcome::Written(said), Some(event)) if *said != event.revision() => {
            violations.push(format!("{} was acknowledged at {said}, it happened at {}", describe(op), event.revision()))
        }
        // Another may have deleted the same version.
        (Outcome::Refused { .. }, Some(_)) if matches!(op.call, Call::Delete { .. }) => {}
        (Outcome::Refused { code, why }, Some(event)) => {
            violations.push(format!("{} was refused ({code} {why}) and happened at {}", describe(op), event.revision()))
        }
        _ => {}
    }
    violations.extend(event.and_then(|event| otherwise(op, event, book)));
    violations
}

/// It happened, but not as it was asked for.
fn otherwise(op: &Op, event: &Event, book: &Book<'_>) -> Option<String> {
    if op.call.name() != Some(event.object.name.as_str()) {
        return Some(format!("{} happened to {}", describe(op), event.object.name));
    }
    let replaced = book.replaced(event);
    match &op.call {
        Call::Create { .. } if event.kind != Kind::Added => Some(format!("{} replaced {replaced:?}", describe(op))),
        Call::Update { on, .. } if replaced != Some(on.revision) => Some(format!(
            "lost update: {}: it was to replace revision {} and replaced {}",
            describe(op),
            on.revision,
            replaced.unwrap_or(0)
        )),
        _ => None,
    }
}

fn phantoms(ops: &[Op], truth: &Truth, book: &Book<'_>) -> Violations {
    let values: BTreeSet<&str> = ops.iter().filter_map(|op| op.call.value()).collect();
    let deletions: BTreeSet<u64> = ops
        .iter()
        .filter(|op| matches!(op.call, Call::Delete { .. }) && !matches!(op.outcome, Outcome::Refused { .. }))
        .flat_map(|op| book.events_of(&op.call))
        .map(Event::revision)
        .collect();
    let phantom = |event: &Event| match event.kind {
        Kind::Deleted => !deletions.contains(&event.revision()),
        Kind::Added | Kind::Modified => !values.contains(event.object.value.as_str()),
    };
    let name = |event: &Event| match event.kind {
        Kind::Deleted => format!("nobody deleted {} at {}", event.object.name, event.revision()),
        _ => format!("phantom: nobody wrote {:?} at {}", event.object.value, event.revision()),
    };
    truth.events.iter().filter(|event| phantom(event)).map(name).collect()
}

fn doubly_deleted(ops: &[Op]) -> Violations {
    let mut seen = BTreeSet::new();
    let acknowledged = ops.iter().filter(|op| op.outcome == Outcome::Deleted);
    let again = acknowledged.filter(|op| match &op.call {
        Call::Delete { name, on } => !seen.insert((name, on.revision)),
        _ => false,
    });
    again.map(|op| format!("{} was acknowledged to two clients", describe(op))).collect()
}
