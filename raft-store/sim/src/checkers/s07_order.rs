//! S7: purged <= snapshot <= applied <= committed <= last entry.

use store_node::Inspection;

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct Order;

impl Checker for Order {
    fn name(&self) -> &'static str {
        "S7 order"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(Inspection { purged, snapshot, applied, state, committed, last_log, .. }) = view.now_of(*host) else {
            return Ok(());
        };
        let index = |place: &Option<store_node::Place>| place.map(|place| place.index);
        // openraft hears of what was applied a little later than the state.
        let ordered = purged <= snapshot
            && snapshot <= state
            && applied <= state
            && index(applied) <= index(committed)
            && index(committed) <= *last_log;
        match ordered {
            true => Ok(()),
            false => Err(format!(
                "{host}: purged {purged:?}, snapshot {snapshot:?}, applied {applied:?}, state {state:?}, committed \
                 {committed:?}, last entry {last_log:?}"
            )),
        }
    }
}
