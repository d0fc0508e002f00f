//! S16: a node id is never used twice, and a voter that lost its data does not vote.

use std::collections::BTreeSet;

use store_api::NodeId;

use super::Checker;
use crate::facts::{Answer, Fact, Message};
use crate::view::View;

#[derive(Default)]
pub(super) struct NodeIds {
    given: BTreeSet<NodeId>,
}

impl Checker for NodeIds {
    fn name(&self) -> &'static str {
        "S16 node ids"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Returned { answer: Answer::NodeId(id), .. } => {
                let used = view.truth.memberships.iter().flat_map(|(_, all)| &all.nodes).any(|node| node.id == *id);
                match used || !self.given.insert(*id) {
                    true => Err(format!("node id {id} was given out, and was used before")),
                    false => Ok(()),
                }
            }
            Fact::Sent { from, message: Message::Voted(response), .. } if response.granted => {
                match view.hosts.get(from).is_some_and(|host| host.wiped) {
                    true => Err(format!("{from} lost its data and votes")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
