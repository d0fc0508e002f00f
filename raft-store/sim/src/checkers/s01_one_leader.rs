//! S1: at most one leader for a leader id.
//!
//! openraft orders leaders by term and node: two nodes may lead in one term, one after the other, and their entries
//! are never mistaken for each other. So an id is that of one node, and of one of its lives: a leader that starts
//! again, perhaps with less of its log, must be elected again.

use std::collections::BTreeMap;

use store_api::NodeId;

use super::Checker;
use crate::facts::{Fact, Message};
use crate::view::View;

#[derive(Default)]
pub(super) struct OneLeader {
    /// By term and node: who led by that id, in which of its lives.
    leaders: BTreeMap<(u64, NodeId), (NodeId, u64)>,
}

impl OneLeader {
    fn leads(&mut self, id: (u64, NodeId), host: NodeId, view: &View) -> Result<(), String> {
        let life = view.hosts.get(&host).map_or(0, |host| host.life);
        match *self.leaders.entry(id).or_insert((host, life)) {
            leader if leader == (host, life) && id.1 == host => Ok(()),
            leader => Err(format!("{leader:?} and {:?} both lead as {id:?}", (host, life))),
        }
    }
}

impl Checker for OneLeader {
    fn name(&self) -> &'static str {
        "S1 one leader"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Sent { from, message: Message::Append(append), .. } => {
                let vote = append.vote.unwrap_or_default();
                self.leads((vote.term, vote.node), *from, view)
            }
            Fact::Stepped { host } => match view.now_of(*host) {
                Some(now) if now.leads => self.leads((now.promise.term, now.promise.leader), *host, view),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
