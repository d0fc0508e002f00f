//! S2: two logs that have the same entry id at an index are equal up to it.

use std::collections::HashMap;

use bytes::Bytes;
use store_node::Place;

use super::Checker;
use crate::facts::{Entry, Fact};
use crate::view::{Shadow, View};

#[derive(Default)]
pub(super) struct LogMatching {
    /// What every entry is, and what it follows, as far as that was seen.
    known: HashMap<Place, (Bytes, Option<Place>)>,
}

impl LogMatching {
    fn check(&mut self, entry: &Entry, log: &Shadow) -> Result<(), String> {
        let before =
            entry.place.index.checked_sub(1).and_then(|index| log.entries.get(&index)).map(|entry| entry.place);
        let known = self.known.entry(entry.place).or_insert_with(|| (entry.bytes.clone(), before));
        if known.0 != entry.bytes {
            return Err(format!("two entries are {:?}", entry.place));
        }
        known.1 = known.1.or(before);
        match before {
            Some(before) if known.1 != Some(before) => {
                Err(format!("{:?} follows {before:?} and {:?}", entry.place, known.1))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "S2 log matching"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Appended { host, entries } = fact else { return Ok(()) };
        let Some(log) = view.shadow(*host) else { return Ok(()) };
        entries.iter().try_for_each(|entry| self.check(entry, log).map_err(|why| format!("on {host}: {why}")))
    }
}
