//! Which disk a replica has, found out before it gets a voice.

use std::collections::BTreeMap;
use std::time::Duration;

use kontiki_proto::raft as proto;
use store_api::{Member, NodeId, StoreError};
use tokio::time::timeout;

use super::node_of;
use crate::blocking::blocking;
use crate::codec;
use crate::replica::Replica;
use crate::types::MemberNode;

/// Until a replica must have said who it is, connecting included.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a replica says of itself.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) incarnation: String,
    /// Its log was never written to.
    pub(super) pristine: bool,
    members: BTreeMap<NodeId, MemberNode>,
}

impl Replica {
    /// What this replica says of itself.
    pub(crate) fn description(&self) -> proto::DescribeResponse {
        let members = self.effects.membership.borrow();
        proto::DescribeResponse {
            incarnation: self.identity.incarnation.clone(),
            pristine: self.log.is_pristine(),
            members: members.nodes().map(|(id, node)| codec::node_to_proto(*id, node)).collect(),
        }
    }

    /// Asks a replica, which need not be a member.
    pub(super) async fn describe(&self, id: NodeId, addr: &str) -> Result<Description, StoreError> {
        let described = match id == self.id() {
            true => self.description(),
            false => self.ask(id, addr).await?,
        };
        let members = described.members.into_iter().map(codec::node_from_proto).collect();
        Ok(Description { incarnation: described.incarnation, pristine: described.pristine, members })
    }

    async fn ask(&self, id: NodeId, addr: &str) -> Result<proto::DescribeResponse, StoreError> {
        let peer = self.peers.stranger(id, addr);
        let mut client = peer.control();
        let why = match timeout(DESCRIBE_TIMEOUT, client.describe(proto::DescribeRequest {})).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(StoreError::Unavailable(format!("replica {id} at {addr} cannot be asked who it is: {why}")))
    }

    /// The member as it is to be written down: an id of this cluster, with the disk it always had.
    pub(super) async fn identify(&self, member: &Member) -> Result<MemberNode, StoreError> {
        let id = member.id;
        let membership = self.membership();
        let known = membership.membership().get_node(&id);
        self.check_id(id, known.is_some())?;
        let described = self.describe(id, &member.peer_addr).await?;
        let mine = membership.nodes().map(|(id, node)| (*id, node)).collect();
        let why = match known {
            Some(known) if known.incarnation != described.incarnation => format!(
                "replica {id} lost the data it had; remove it, and let it join with an empty directory and a new node id"
            ),
            None if !described.may_join(&mine) => {
                format!("replica {id} holds data of another cluster; it must join with an empty directory")
            }
            _ => return Ok(node_of(member, described.incarnation)),
        };
        Err(StoreError::Invalid(why))
    }

    /// Ids come from the log, and none is used twice.
    fn check_id(&self, id: NodeId, is_member: bool) -> Result<(), StoreError> {
        let last = blocking(|| self.effects.engine.last_node_id());
        let why = if self.effects.removed.load().contains(&id) {
            format!("replica {id} was removed; it must join with an empty directory and a new node id")
        } else if id > last && !is_member {
            format!("node id {id} was not given out by this cluster, the last one was {last}")
        } else {
            return Ok(());
        };
        Err(StoreError::Invalid(why))
    }
}

impl Description {
    /// It is new, or has begun to follow this very cluster: a first try to add it was interrupted.
    fn may_join(&self, mine: &BTreeMap<NodeId, &MemberNode>) -> bool {
        let shared = |(id, node): (&NodeId, &MemberNode)| {
            mine.get(id).is_some_and(|member| member.incarnation == node.incarnation)
        };
        self.members.is_empty() || self.members.iter().any(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_replica_or_one_of_this_cluster_may_join() {
        let node = |disk: &str| MemberNode { incarnation: disk.into(), ..MemberNode::default() };
        let (first, second) = (node("disk-1"), node("disk-2"));
        let mine = BTreeMap::from([(1, &first), (2, &second)]);
        let says = |members: &[(NodeId, &str)]| Description {
            incarnation: "mine".into(),
            pristine: members.is_empty(),
            members: members.iter().map(|(id, disk)| (*id, node(disk))).collect(),
        };
        assert!(says(&[]).may_join(&mine));
        assert!(says(&[(1, "disk-1"), (3, "disk-3")]).may_join(&mine));
        assert!(!says(&[(1, "another"), (3, "disk-3")]).may_join(&mine));
    }
}
