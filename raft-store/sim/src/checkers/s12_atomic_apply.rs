//! S12: an entry is applied whole or not at all: after a start the state is the one after some entry, in all of its
//! parts, what its keys hold among them.

use std::collections::BTreeMap;

use store_api::{NodeId, Revision};

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
            Some(after) if *after == mine => match fact {
                Fact::Started { .. } => has_contents(*host, now.revision, view),
                _ => Ok(()),
            },
            after => Err(format!("{host} is at {state:?} with {mine:x?}, that is {after:x?}")),
        }
    }
}

fn has_contents(host: NodeId, revision: Revision, view: &View) -> Result<(), String> {
    // What is damaged cannot be read, and is not mistaken.
    let Some(found) = view.hosts.get(&host).and_then(|host| host.contents.as_ref()) else { return Ok(()) };
    let found: BTreeMap<_, _> = found.iter().map(|kv| (kv.key.clone(), (kv.value.clone(), kv.mod_revision))).collect();
    let expected = view.truth.contents(revision);
    match found == expected {
        true => Ok(()),
        false => {
            let of = expected.keys().chain(found.keys()).find(|key| found.get(*key) != expected.get(*key));
            let (mine, its) = (of.and_then(|key| expected.get(key)), of.and_then(|key| found.get(key)));
            Err(format!("{host} is at revision {revision} and has {its:?} for {of:?}, that is {mine:?}"))
        }
    }
}
