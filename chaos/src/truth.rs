//! The order of everything that happened to a round's objects, by revision.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history::{Event, Kind, Object, Selector, Version};

/// All events of a round. At revision `from` none of its objects existed; nothing is left out up to `upto`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Truth {
    pub from: u64,
    pub upto: u64,
    pub events: Vec<Event>,
}

/// From which revision on an object had this version; `None`: it did not exist.
pub type Step = (u64, Option<Version>);

impl Truth {
    /// The lives of all objects, by name, in revision order.
    pub fn lives(&self) -> BTreeMap<&str, Vec<Step>> {
        let mut lives: BTreeMap<&str, Vec<Step>> = BTreeMap::new();
        for event in &self.events {
            lives.entry(&event.object.name).or_default().push((event.revision(), after(event)));
        }
        lives
    }

    /// What a watcher with this selector should see: entering it is an ADDED, leaving it a DELETED with the
    /// object as it was last seen, at the revision of the change.
    pub fn seen_through(&self, selector: &Selector) -> Vec<Event> {
        let mut inside: BTreeMap<&str, &Object> = BTreeMap::new();
        let mut seen = Vec::new();
        for event in &self.events {
            let name = event.object.name.as_str();
            let matches = event.kind != Kind::Deleted && selector.matches(&event.object);
            let before = if matches { inside.insert(name, &event.object) } else { inside.remove(name) };
            match (before, matches) {
                (None, true) => seen.push(Event { kind: Kind::Added, object: event.object.clone() }),
                (Some(_), true) => seen.push(Event { kind: Kind::Modified, object: event.object.clone() }),
                (Some(before), false) => {
                    let object = Object { revision: event.revision(), ..before.clone() };
                    seen.push(Event { kind: Kind::Deleted, object });
                }
                (None, false) => {}
            }
        }
        seen
    }

    /// What there is in the end.
    pub fn finals(&self) -> BTreeMap<&str, Version> {
        let mut finals = BTreeMap::new();
        for event in &self.events {
            match after(event) {
                Some(version) => finals.insert(event.object.name.as_str(), version),
                None => finals.remove(event.object.name.as_str()),
            };
        }
        finals
    }
}

fn after(event: &Event) -> Option<Version> {
    let version = || Version { revision: event.revision(), value: event.object.value.clone() };
    (event.kind != Kind::Deleted).then(version)
}
