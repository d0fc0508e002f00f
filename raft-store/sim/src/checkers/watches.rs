//! W1 to W13: a watch tells every event of its keys, in order, once, whole revisions at a time, whichever replica it
//! goes on at; progress is never ahead of what is committed; and it ends only with 410 outside the history, or with
//! its replica.

use std::collections::BTreeMap;

use store_api::{Revision, StoreError};

use super::Checker;
use crate::facts::{Fact, Seen};
use crate::view::View;

/// What all watches of a run are for.
pub(crate) const WATCHED: &[u8] = b"r/";

#[derive(Default)]
pub(super) struct Watches {
    /// The first revision each watcher wants.
    next: BTreeMap<u64, Revision>,
}

impl Checker for Watches {
    fn name(&self) -> &'static str {
        "W1-W13 watches"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Watched { watcher, host, seen } = fact else { return Ok(()) };
        let next = self.next.get(watcher).copied();
        match seen {
            Seen::Opened { from } => {
                self.next.insert(*watcher, *from);
                match next.filter(|next| from > next) {
                    Some(next) => Err(format!("watcher {watcher} goes on at {from} on {host}, not at {next}")),
                    None => Ok(()),
                }
            }
            Seen::Batch { revision, events } => {
                let next = next.unwrap_or(*revision);
                self.next.insert(*watcher, revision + 1);
                if *revision > view.truth.revision() || *revision + 1 < next {
                    return Err(format!("watcher {watcher} was told of {revision} by {host}, and wants {next}"));
                }
                let wanted = |event: &&store_api::Event| event.kv().key.starts_with(WATCHED);
                let expected = view.truth.events.range(next..=*revision).flat_map(|(_, events)| events).filter(wanted);
                match expected.eq(events.iter()) {
                    true => Ok(()),
                    false => Err(format!("watcher {watcher} got {events:?} from {host} for {next}..={revision}")),
                }
            }
            Seen::Ended(StoreError::Compacted { .. }) => {
                self.next.remove(watcher);
                match next {
                    Some(next) if next >= view.truth.compacted() => {
                        Err(format!("watcher {watcher} at {next} was ended by {host} inside the history"))
                    }
                    _ => Ok(()),
                }
            }
            Seen::Ended(StoreError::Unavailable(_)) => Ok(()),
            Seen::Ended(StoreError::Fatal(_)) if view.is_doubtful(*host) => Ok(()),
            Seen::Ended(error) => Err(format!("watcher {watcher} was ended by {host}: {error}")),
        }
    }
}
