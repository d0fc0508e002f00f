//! S17: no two quorums without a common voter, from one committed membership to the next; and none stays half-way.

use std::collections::BTreeSet;

use kontiki_proto::log as proto;
use store_api::NodeId;

use super::Checker;
use crate::facts::Fact;
use crate::view::{View, is_quorum};

#[derive(Default)]
pub(super) struct Membership {
    checked: usize,
}

impl Checker for Membership {
    fn name(&self) -> &'static str {
        "S17 membership"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let all = &view.truth.memberships;
        match fact {
            Fact::Committed { .. } => {
                let from = self.checked.saturating_sub(1);
                self.checked = all.len();
                all[from..].windows(2).try_for_each(|pair| common(&sets(&pair[0].1), &sets(&pair[1].1)))
            }
            Fact::Rested => match all.last() {
                Some((index, last)) if last.voters.len() != 1 => {
                    Err(format!("the change at {index} is half-way: {last:?}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn sets(membership: &proto::Membership) -> Vec<BTreeSet<NodeId>> {
    membership.voters.iter().map(|set| set.ids.iter().copied().collect()).collect()
}

/// Tries every set of voters: if it is a quorum of the one, what is left must not be one of the other.
fn common(before: &[BTreeSet<NodeId>], after: &[BTreeSet<NodeId>]) -> Result<(), String> {
    let all: Vec<NodeId> = before.iter().chain(after).flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for chosen in 0..1u32 << all.len() {
        let (one, rest): (Vec<_>, Vec<_>) = (0..all.len()).partition(|at| chosen & (1 << at) != 0);
        let ids = |places: Vec<usize>| places.into_iter().map(|at| all[at]).collect::<BTreeSet<_>>();
        let (one, rest) = (ids(one), ids(rest));
        if is_quorum(before, &one) && is_quorum(after, &rest) {
            return Err(format!("{one:?} is a quorum of {before:?}, {rest:?} of {after:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_of_neighbours_meet() {
        let set = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert!(common(&[set(&[1, 2, 3])], &[set(&[1, 2, 3, 4])]).is_ok());
        assert!(common(&[set(&[1, 2, 3])], &[set(&[1, 2, 3]), set(&[1, 4, 5])]).is_ok());
        assert!(common(&[set(&[1, 2, 3])], &[set(&[1, 4, 5])]).is_err());
        assert!(common(&[set(&[1])], &[set(&[2])]).is_err());
    }
}
