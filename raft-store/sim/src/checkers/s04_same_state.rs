//! S4: after the same entry, the same state.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct SameState;

impl Checker for SameState {
    fn name(&self) -> &'static str {
        "S4 same state"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(seen) = view.hosts.get(host) else { return Ok(()) };
        let newest = seen.now.as_ref().and_then(|now| Some((now.state?.index, now.revision, now.hash)));
        for (index, revision, hash) in seen.states.iter().copied().chain(newest) {
            let Some(after) = view.truth.after.get(index as usize) else {
                return Err(format!("{host} applied entry {index}, which is not committed"));
            };
            if (after.revision, after.hash) != (revision, hash) {
                return Err(format!("after entry {index}, {host} has {revision}/{hash:x}, not {after:x?}"));
            }
        }
        Ok(())
    }
}
