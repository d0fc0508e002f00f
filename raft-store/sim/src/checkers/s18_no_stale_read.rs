//! S18: a consistent read sees everything that was acknowledged before it was asked for, whoever answers it.

use std::collections::BTreeMap;

use store_api::Revision;

use super::Checker;
use crate::facts::{Answer, CallId, Fact, How, What};
use crate::view::View;

#[derive(Default)]
pub(super) struct NoStaleRead {
    /// The newest revision any client was told of.
    told: Revision,
    /// What it was when a read was asked for.
    asked: BTreeMap<CallId, Revision>,
}

impl Checker for NoStaleRead {
    fn name(&self) -> &'static str {
        "S18 no stale read"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Called { call, what: What::Read { how: How::Linearizable, .. }, .. } => {
                self.asked.insert(*call, self.told);
            }
            Fact::Returned { call, host, answer: Answer::Read { revision, .. } } => {
                if let Some(asked) = self.asked.remove(call)
                    && *revision < asked
                {
                    return Err(format!("{host} answered at revision {revision}, when {asked} was acknowledged"));
                }
                if *revision > view.truth.revision() {
                    return Err(format!("{host} answered at revision {revision}, which is not committed"));
                }
                self.told = self.told.max(*revision);
            }
            Fact::Returned { answer: Answer::Wrote { succeeded: true, revision }, .. } => {
                self.told = self.told.max(*revision);
            }
            _ => {}
        }
        Ok(())
    }
}
