//! S6: what is committed at an index stays so.

use store_node::Place;

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct CommittedForEver;

impl Checker for CommittedForEver {
    fn name(&self) -> &'static str {
        "S6 committed for ever"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(now) = view.now_of(*host) else { return Ok(()) };
        let places = [now.committed, now.applied, now.state, now.snapshot, now.purged];
        for place in places.into_iter().flatten() {
            let committed: Option<Place> = view.truth.committed.get(place.index as usize).map(|entry| entry.place);
            if committed != Some(place) {
                return Err(format!("{host} takes {place:?} for committed, it is {committed:?}"));
            }
        }
        Ok(())
    }
}
