//! S14: a snapshot takes the place of a state whole or not at all: from one look to the next the state moves on by
//! entries, or to what some replica's snapshot holds; and a crash on the way leaves the old state or the new one.

use std::collections::{BTreeMap, BTreeSet};

use store_api::NodeId;
use store_node::Place;

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

#[derive(Default)]
pub(super) struct Install {
    snapshots: BTreeSet<Place>,
    states: BTreeMap<NodeId, Option<Place>>,
}

impl Checker for Install {
    fn name(&self) -> &'static str {
        "S14 snapshot install"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(seen) = view.hosts.get(host) else { return Ok(()) };
        let Some(now) = &seen.now else { return Ok(()) };
        self.snapshots.extend(now.snapshot);
        let before = self.states.insert(*host, now.state).flatten();
        let first = seen.states.first().map(|(index, ..)| *index);
        let next = before.map_or(0, |before| before.index + 1);
        let jumped = now.state > before && first.is_none_or(|first| first > next);
        match now.state.filter(|_| jumped) {
            // Entries may have been applied on top of the snapshot since.
            Some(state) if !self.snapshots.iter().any(|at| at.index >= next && *at <= state) => {
                Err(format!("{host} went from {before:?} to {state:?} without a snapshot"))
            }
            _ => Ok(()),
        }
    }
}
