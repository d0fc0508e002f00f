//! S12: an entry is applied whole or not at all: after a start the state is the one after some entry, in all of its
//! parts.

use super::Checker;
use crate::facts::Fact;
use crate::truth::After;
use crate::view::View;

pub(super) struct AtomicApply;

impl Checker for AtomicApply {
    fn name(&self) -> &'static str {
        "S12 atomic apply"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let (Fact::Started { host } | Fact::Stepped { host }) = fact else { return Ok(()) };
        let Some(now) = view.now_of(*host) else { return Ok(()) };
        let Some(state) = now.state else { return Ok(()) };
        let mine =
            After { revision: now.revision, hash: now.hash, compacted: now.compacted, last_node_id: now.last_node_id };
        match view.truth.after.get(state.index as usize) {
            Some(after) if *after == mine => Ok(()),
            after => Err(format!("{host} is at {state:?} with {mine:x?}, that is {after:x?}")),
        }
    }
}
