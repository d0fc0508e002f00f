//! Which call made which event.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Call, Event, Kind, Op, Outcome};
use crate::truth::{Step, Truth};

pub(super) struct Book<'a> {
    /// Events by the value they wrote.
    by_value: BTreeMap<&'a str, Vec<&'a Event>>,
    /// Deletions by name and the revision they ended.
    deletions: BTreeMap<(&'a str, u64), &'a Event>,
    /// How many calls may have made each of them.
    deleters: BTreeMap<(&'a str, u64), usize>,
    /// Revision of what an event replaced, by the event's revision.
    replaced: BTreeMap<u64, u64>,
    pub(super) lives: BTreeMap<&'a str, Vec<Step>>,
    /// By revision: when the last of the calls up to it had begun.
    begun: Vec<(u64, Duration)>,
}

impl<'a> Book<'a> {
    pub(super) fn new(ops: &'a [Op], truth: &'a Truth) -> Self {
        let mut book = Self {
            by_value: BTreeMap::new(),
            deletions: BTreeMap::new(),
            deleters: BTreeMap::new(),
            replaced: BTreeMap::new(),
            lives: truth.lives(),
            begun: Vec::new(),
        };
        book.read(truth);
        book.time(ops, truth);
        book
    }

    fn read(&mut self, truth: &'a Truth) {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &truth.events {
            let name = event.object.name.as_str();
            if let Some(before) = newest.insert(name, event.revision()) {
                self.replaced.insert(event.revision(), before);
            }
            match event.kind {
                Kind::Deleted => {
                    let before = self.replaced.get(&event.revision()).copied().unwrap_or(0);
                    self.deletions.insert((name, before), event);
                    newest.remove(name);
                }
                Kind::Added | Kind::Modified => self.by_value.entry(&event.object.value).or_default().push(event),
            }
        }
    }

    fn time(&mut self, ops: &'a [Op], truth: &Truth) {
        let mut begun: BTreeMap<u64, Duration> = BTreeMap::new();
        for op in ops.iter().filter(|op| !matches!(op.outcome, Outcome::Refused { .. })) {
            if let Call::Delete { name, on } = &op.call {
                *self.deleters.entry((name, on.revision)).or_default() += 1;
            }
            for event in self.events_of(&op.call) {
                let earliest = begun.entry(event.revision()).or_insert(op.invoked);
                *earliest = (*earliest).min(op.invoked);
            }
        }
        let mut latest = Duration::ZERO;
        for event in &truth.events {
            latest = latest.max(begun.get(&event.revision()).copied().unwrap_or_default());
            self.begun.push((event.revision(), latest));
        }
    }

    /// What a call did: one event at most, if all is well.
    pub(super) fn events_of(&self, call: &Call) -> Vec<&'a Event> {
        match call {
            Call::Delete { name, on } => {
                self.deletions.get(&(name.as_str(), on.revision)).copied().into_iter().collect()
            }
            other => other.value().and_then(|value| self.by_value.get(value)).cloned().unwrap_or_default(),
        }
    }

    /// Whether another call, too, may have made the deletion that this one asked for.
    pub(super) fn has_rival(&self, call: &Call) -> bool {
        let Call::Delete { name, on } = call else { return false };
        self.deleters.get(&(name.as_str(), on.revision)).is_some_and(|count| *count > 1)
    }

    /// The revision that this event replaced.
    pub(super) fn replaced(&self, event: &Event) -> Option<u64> {
        self.replaced.get(&event.revision()).copied()
    }

    /// When everything up to this revision had begun.
    pub(super) fn begun(&self, revision: u64) -> Duration {
        let after = self.begun.partition_point(|(at, _)| *at <= revision);
        after.checked_sub(1).map_or(Duration::ZERO, |last| self.begun[last].1)
    }
}
