//! S13: what is applied again, after a restart took it away, gives the same again.

use std::collections::BTreeMap;

use store_api::{NodeId, Revision};

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

#[derive(Default)]
pub(super) struct Replay {
    first: BTreeMap<(NodeId, u64), (Revision, u64)>,
}

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "S13 replay"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Stepped { host } = fact else { return Ok(()) };
        let Some(seen) = view.hosts.get(host) else { return Ok(()) };
        for (index, revision, hash) in &seen.states {
            let now = (*revision, *hash);
            let first = *self.first.entry((*host, *index)).or_insert(now);
            if first != now {
                return Err(format!("entry {index} gave {first:x?} on {host}, and {now:x?} when applied again"));
            }
        }
        Ok(())
    }
}
