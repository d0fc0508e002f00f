//! Beginning a cluster: once, and only with replicas that never had a part in one.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use openraft::errors::RaftError;
use store_api::{Member, NodeId, StoreError};
use tokio::time::Instant;

use super::{check_member, node_of};
use crate::replica::Replica;
use crate::types::MemberNode;

/// Until all first members must have answered.
const FOUNDING_TIMEOUT: Duration = Duration::from_secs(60);
/// Before one that does not answer yet is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);

impl Replica {
    /// Makes a new cluster of these members.
    pub(crate) async fn initialize(&self, members: Vec<Member>) -> Result<(), StoreError> {
        check_founders(&members)?;
        let deadline = Instant::now() + FOUNDING_TIMEOUT;
        let founders = members.iter().map(|member| self.founder(member, deadline));
        let nodes: BTreeMap<NodeId, MemberNode> = try_join_all(founders).await?.into_iter().collect();
        self.raft.initialize(nodes).await.map_err(|error| match error {
            RaftError::APIError(error) => StoreError::Invalid(error.to_string()),
            RaftError::Fatal(error) => StoreError::Fatal(error.to_string()),
        })?;
        let highest = members.iter().map(|member| member.id).max().unwrap_or_default();
        self.use_up_ids(highest).await
    }

    /// A first member with its disk. One that has a cluster already would have two: then it is this replica that
    /// is not new, it only looks so.
    async fn founder(&self, member: &Member, deadline: Instant) -> Result<(NodeId, MemberNode), StoreError> {
        let described = loop {
            match self.describe(member.id, &member.peer_addr).await {
                Ok(described) => break described,
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(ASK_PAUSE).await,
            }
        };
        match described.pristine {
            true => Ok((member.id, node_of(member, described.incarnation))),
            false => Err(StoreError::Invalid(format!(
                "replica {} is a member of a cluster already, so no new one is begun. If this replica lost its data, \
                 remove it there and let it join with an empty directory and a new node id",
                member.id
            ))),
        }
    }
}

fn check_founders(members: &[Member]) -> Result<(), StoreError> {
    let mut ids = Vec::new();
    for member in members {
        check_member(member)?;
        if !member.voter {
            return Err(StoreError::Invalid("a cluster begins with voters; add others afterwards".into()));
        }
        if ids.contains(&member.id) {
            return Err(StoreError::Invalid(format!("node id {} is given twice", member.id)));
        }
        ids.push(member.id);
    }
    Ok(())
}
