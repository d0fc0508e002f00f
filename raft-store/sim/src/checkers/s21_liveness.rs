//! S21: when all faults are over, there is one leader again, replicas are equal, and writes are accepted everywhere.

use std::collections::BTreeSet;

use store_api::NodeId;

use super::Checker;
use crate::facts::{Answer, Fact};
use crate::view::View;

#[derive(Default)]
pub(super) struct Liveness {
    healed: bool,
    accepted: BTreeSet<NodeId>,
}

impl Checker for Liveness {
    fn name(&self) -> &'static str {
        "S21 liveness"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Healed => self.healed = true,
            Fact::Returned { host, answer: Answer::Wrote { succeeded: true, .. }, .. } if self.healed => {
                self.accepted.insert(*host);
            }
            Fact::Rested => return self.check(view),
            _ => {}
        }
        Ok(())
    }
}

impl Liveness {
    fn check(&self, view: &View) -> Result<(), String> {
        let Some((_, membership)) = view.truth.memberships.last() else { return Err("no cluster".into()) };
        let members: BTreeSet<NodeId> = membership.nodes.iter().map(|node| node.id).collect();
        let up: BTreeSet<NodeId> = view.up().map(|(id, _)| id).collect();
        let members: BTreeSet<NodeId> = members.intersection(&up).copied().collect();
        let inspected: Vec<_> = members.iter().filter_map(|id| view.now_of(*id)).collect();
        let newest = |now: &store_node::Inspection| (now.promise.term, now.promise.leader);
        let leader = inspected.iter().map(|now| newest(now)).max();
        let leaders: Vec<_> = inspected.iter().filter(|now| now.leads && Some(newest(now)) == leader).collect();
        if leaders.len() != 1 {
            return Err(format!("{} leaders: {inspected:#?}", leaders.len()));
        }
        let states: BTreeSet<_> = inspected.iter().map(|now| (now.state, now.revision, now.hash)).collect();
        if states.len() != 1 {
            return Err(format!("replicas differ: {states:x?}"));
        }
        match members.iter().find(|id| !self.accepted.contains(id)) {
            Some(id) => Err(format!("no write was accepted through {id}")),
            None => Ok(()),
        }
    }
}
