//! Changing what is known of a member, and making a learner a voter.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::LogIdOptionExt;
use store_api::{MemberError, MemberUpdate, NodeId, StoreError};

use crate::membership::{Changed, check_address};
use crate::replica::Replica;
use crate::types::MemberNode;

/// A learner with this part of the leader's log, in percent, has caught up enough to vote.
const READY_PERCENT: u64 = 90;

impl Replica {
    pub(crate) async fn update_here(&self, id: NodeId, update: &MemberUpdate) -> Result<(), Changed> {
        let membership = self.membership();
        let nodes: BTreeMap<NodeId, MemberNode> =
            membership.membership().nodes().map(|(id, node)| (*id, node.clone())).collect();
        match updated(&nodes, id, update).map_err(Changed::Failed)? {
            None => Ok(()),
            Some(node) => self.change_membership(ChangeMembers::SetNodes(BTreeMap::from([(id, node)]))).await,
        }
    }

    pub(crate) async fn promote_here(&self, id: NodeId) -> Result<(), Changed> {
        let refused = |error: MemberError| Changed::Failed(error.into());
        let membership = self.membership();
        if membership.membership().get_node(&id).is_none() {
            return Err(refused(MemberError::NotFound));
        }
        if membership.voter_ids().any(|voter| voter == id) {
            return Err(refused(MemberError::NotLearner));
        }
        let metrics = self.metrics();
        let matched = metrics.replication.as_ref().and_then(|replication| replication.get(&id).copied().flatten());
        let (has, last) = (matched.index().unwrap_or_default(), metrics.last_log_index.unwrap_or_default());
        if has.saturating_mul(100) < last.saturating_mul(READY_PERCENT) {
            return Err(refused(MemberError::NotReady));
        }
        self.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }
}

/// The member as it is to be; `None` when that is what it is.
fn updated(
    nodes: &BTreeMap<NodeId, MemberNode>,
    id: NodeId,
    update: &MemberUpdate,
) -> Result<Option<MemberNode>, StoreError> {
    let MemberUpdate { peer_addr, name, client_urls } = update.clone();
    let before = nodes.get(&id).ok_or(MemberError::NotFound)?;
    let mut node = before.clone();
    if let Some(peer_addr) = peer_addr {
        check_address(&peer_addr)?;
        if nodes.iter().any(|(other, node)| *other != id && node.peer_addr == peer_addr) {
            return Err(MemberError::AddressTaken.into());
        }
        node.peer_addr = peer_addr;
    }
    node.name = name.unwrap_or(node.name);
    node.client_urls = client_urls.unwrap_or(node.client_urls);
    Ok((node != *before).then_some(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let node = |port: u16| MemberNode { peer_addr: format!("h:{port}"), ..MemberNode::default() };
        let nodes = BTreeMap::from([(1, node(1)), (2, node(2))]);
        let update = |peer_addr: Option<&str>, name: Option<&str>| MemberUpdate {
            peer_addr: peer_addr.map(str::to_owned),
            name: name.map(str::to_owned),
            client_urls: None,
        };
        assert_eq!(updated(&nodes, 1, &MemberUpdate::default()), Ok(None));
        assert_eq!(updated(&nodes, 1, &update(Some("h:1"), None)), Ok(None));
        assert_eq!(updated(&nodes, 1, &update(Some("h:3"), None)), Ok(Some(node(3))));
        let named = MemberNode { name: "a".into(), ..node(1) };
        assert_eq!(updated(&nodes, 1, &update(None, Some("a"))), Ok(Some(named)));
        assert_eq!(updated(&nodes, 3, &update(None, None)), Err(MemberError::NotFound.into()));
        assert_eq!(updated(&nodes, 1, &update(Some("h:2"), None)), Err(MemberError::AddressTaken.into()));
        assert!(matches!(updated(&nodes, 1, &update(Some("h"), None)), Err(StoreError::Invalid(_))));
    }
}
