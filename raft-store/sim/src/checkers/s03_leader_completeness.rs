//! S3: who leads has everything that was committed under leaders before.

use std::collections::BTreeSet;

use store_api::NodeId;

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    seen: BTreeSet<(u64, NodeId)>,
}

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "S3 leader completeness"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(now) = view.now_of(*host).filter(|now| now.leads) else { return Ok(()) };
        let leader = (now.promise.term, now.promise.leader);
        if !self.seen.insert(leader) {
            return Ok(());
        }
        let Some(log) = view.shadow(*host) else { return Ok(()) };
        let before = view.truth.committed.iter().filter(|entry| (entry.place.term, entry.place.leader) < leader);
        for entry in before.skip_while(|entry| log.purged >= Some(entry.place.index)) {
            let mine = log.entries.get(&entry.place.index).map(|entry| entry.place);
            if mine != Some(entry.place) {
                return Err(format!("{host} leads as {leader:?} and has {mine:?} for {:?}", entry.place));
            }
        }
        Ok(())
    }
}
