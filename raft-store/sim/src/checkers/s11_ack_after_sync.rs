//! S11: nothing is acknowledged, and no vote given, before it is durable.

use kontiki_proto::raft::append_response::Result as Appended;
use store_api::NodeId;

use super::Checker;
use crate::facts::{Fact, Message, place};
use crate::view::View;

pub(super) struct AckAfterSync;

impl Checker for AckAfterSync {
    fn name(&self) -> &'static str {
        "S11 acknowledged after sync"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Sent { from, message, .. } = fact else { return Ok(()) };
        match message {
            Message::Appended(response) => match &response.result {
                Some(Appended::Accepted(accepted)) => accepted.log_id.map_or(Ok(()), |id| has(*from, place(id), view)),
                _ => Ok(()),
            },
            Message::Voted(response) if response.granted => {
                let (given, kept) = (response.vote.unwrap_or_default(), view.shadow(*from).map(|log| log.promise));
                match kept.map(|kept| (kept.term, kept.leader)) == Some((given.term, given.node)) {
                    true => Ok(()),
                    false => Err(format!("{from} votes {given:?}, on disk is {kept:?}")),
                }
            }
            _ => Ok(()),
        }
    }
}

fn has(host: NodeId, accepted: store_node::Place, view: &View) -> Result<(), String> {
    let log = view.shadow(host);
    let kept = log.and_then(|log| log.entries.get(&accepted.index)).map(|entry| entry.place);
    let durable = log.and_then(|log| log.durable);
    let in_state =
        log.and_then(|log| log.purged).max(view.now_of(host).and_then(|now| now.snapshot).map(|at| at.index));
    match in_state >= Some(accepted.index) || (durable >= Some(accepted.index) && kept == Some(accepted)) {
        true => Ok(()),
        false => Err(format!("{host} acknowledges {accepted:?}, on disk is {kept:?}, durable up to {durable:?}")),
    }
}
