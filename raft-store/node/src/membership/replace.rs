//! Taking the place of a member that is dead.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use store_api::{NodeId, StoreError};

use super::{MAX_NODE_ID, answers};
use crate::replica::Replica;
use crate::types::MemberNode;

impl Replica {
    /// A member that answers is not to be replaced: it is more likely that the wrong one was named.
    pub(super) async fn check_dead(&self, id: NodeId) -> Result<(), StoreError> {
        let alive = match self.peer(id) {
            None => id == self.id(),
            Some(_) if id == self.id() => true,
            Some(peer) => answers(&peer).await,
        };
        match alive {
            false => Ok(()),
            true => Err(StoreError::Invalid(format!(
                "replica {id} answers, so it is not dead and is not replaced: stop it first, or add a replica and then \
                 remove {id}"
            ))),
        }
    }

    /// How it is removed; `None` when it is no member any more.
    pub(super) async fn replacement(
        &self,
        dead: NodeId,
    ) -> Result<Option<ChangeMembers<NodeId, MemberNode>>, StoreError> {
        let membership = self.membership();
        if membership.membership().get_node(&dead).is_none() {
            return Ok(None);
        }
        self.use_up_ids(dead.min(MAX_NODE_ID)).await?;
        let ids = BTreeSet::from([dead]);
        Ok(Some(match membership.voter_ids().any(|voter| voter == dead) {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        }))
    }
}
