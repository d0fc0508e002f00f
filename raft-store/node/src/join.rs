//! How a replica that is not a member yet asks to be one.
//!
//! Its id was given out by the cluster and its certificate is signed by the peer CA for that id: whoever has both
//! may join. The leader finds out which disk it has, as with every replica that is added.

use std::time::Duration;

use kontiki_proto::raft as proto;
use store_api::{Member, NodeId, StoreError};
use tokio::time::timeout;

use crate::codec;
use crate::membership::Change;
use crate::replica::Replica;

/// Until a member must have had this replica added, catching up included.
const JOIN_TIMEOUT: Duration = Duration::from_secs(330);

impl Replica {
    /// Asks the members that are known, one after the other; `Unavailable` when none could do it now.
    pub(crate) async fn join(&self, known: &[(NodeId, String)], me: Member, voter: bool) -> Result<(), StoreError> {
        if self.is_member(voter) {
            return Ok(());
        }
        let mut last = StoreError::Unavailable("no member is known to be asked".into());
        for (id, addr) in known.iter().filter(|(id, _)| *id != self.id()) {
            match self.ask_to_join(*id, addr, &me, voter).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether it is what it wants to be.
    fn is_member(&self, voter: bool) -> bool {
        let membership = self.membership();
        let known = membership.membership().get_node(&self.id()).is_some();
        known && (!voter || membership.voter_ids().any(|id| id == self.id()))
    }

    async fn ask_to_join(&self, id: NodeId, addr: &str, me: &Member, voter: bool) -> Result<(), StoreError> {
        let request = proto::JoinRequest { member: Some(codec::member_to_proto(me)), voter };
        let mut client = self.peers.stranger(id, addr).control();
        let why = match timeout(JOIN_TIMEOUT, client.join(request)).await {
            Ok(Ok(response)) => return outcome(response.into_inner()),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(StoreError::Unavailable(format!("replica {id} at {addr} cannot be asked: {why}")))
    }

    /// For a caller that was found to be the replica it wants to be added.
    pub(crate) async fn admit_joining(&self, member: Member, voter: bool) -> proto::JoinResponse {
        let refused = self.change(Change::Add { member, voter, replaces: None }).await.err();
        proto::JoinResponse { refused: refused.map(|error| codec::error_to_proto(&error)) }
    }
}

fn outcome(response: proto::JoinResponse) -> Result<(), StoreError> {
    match response.refused {
        None => Ok(()),
        Some(error) => {
            Err(codec::error_from_proto(error).unwrap_or_else(|error| StoreError::Unknown(error.to_string())))
        }
    }
}
