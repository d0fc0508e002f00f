//! S10: the vote for a leader is durable before any entry of it is.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct VoteBeforeLog;

impl Checker for VoteBeforeLog {
    fn name(&self) -> &'static str {
        "S10 vote before log"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Synced { host } = fact else { return Ok(()) };
        let Some(log) = view.shadow(*host) else { return Ok(()) };
        let last = log.entries.last_key_value().map(|(_, entry)| entry.place);
        match last {
            // The founders write down their membership before there is a leader.
            Some(last) if last.index > 0 && (last.term, last.leader) > (log.promise.term, log.promise.leader) => {
                Err(format!("{host} has {last:?} and promised {:?}", log.promise))
            }
            _ => Ok(()),
        }
    }
}
