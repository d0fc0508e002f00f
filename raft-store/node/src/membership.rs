//! Changing who is a member. Carried out by the leader; any replica may be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kontiki_proto::raft as proto;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use store_api::{Member, NodeId, StoreError};
use store_core::{Command, Reply};
use tokio::time::{Instant, timeout};

use crate::codec;
use crate::replica::Replica;
use crate::types::{MemberNode, TypeConfig};

/// Until a new replica must have caught up, snapshot included.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(300);
/// Until a membership change without catching up is committed.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// Between tries while no leader is known.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Node ids are small numbers given out by the log; larger ones are a mistake.
const MAX_NODE_ID: NodeId = 10_000;

/// One membership change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add { member: Member, voter: bool },
    Remove(NodeId),
}

/// What became of it.
pub(crate) enum Changed {
    Done,
    NotLeader(Option<NodeId>),
    Failed(StoreError),
}

impl Change {
    pub(crate) fn to_proto(&self) -> proto::ChangeMemberRequest {
        use proto::change_member_request::{Add, Change as P};
        let change = match self {
            Change::Add { member, voter } => {
                P::Add(Add { member: Some(codec::member_to_proto(member)), voter: *voter })
            }
            Change::Remove(id) => P::Remove(*id),
        };
        proto::ChangeMemberRequest { change: Some(change) }
    }

    pub(crate) fn from_proto(request: proto::ChangeMemberRequest) -> Result<Self, codec::DecodeError> {
        use proto::change_member_request::Change as P;
        match request.change {
            Some(P::Add(add)) => {
                let member = add.member.ok_or(codec::DecodeError::Missing("member"))?;
                let member =
                    Member { id: member.id, peer_addr: member.peer_addr, api_url: member.api_url, voter: add.voter };
                Ok(Change::Add { member, voter: add.voter })
            }
            Some(P::Remove(id)) => Ok(Change::Remove(id)),
            None => Err(codec::DecodeError::Missing("change")),
        }
    }
}

/// Refuses members nobody could reach.
pub(crate) fn check_member(member: &Member) -> Result<(), StoreError> {
    let why = if member.id == 0 || member.id > MAX_NODE_ID {
        format!("node id {} is not between 1 and {MAX_NODE_ID}", member.id)
    } else if member
        .peer_addr
        .rsplit_once(':')
        .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    {
        format!("peer address {:?} is not host:port", member.peer_addr)
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid(why))
}

pub(crate) fn node_of(member: &Member) -> MemberNode {
    MemberNode { peer_addr: member.peer_addr.clone(), api_url: member.api_url.clone() }
}

impl Replica {
    /// Makes a new cluster of these members.
    pub(crate) async fn initialize(&self, members: Vec<Member>) -> Result<(), StoreError> {
        let mut nodes = BTreeMap::new();
        for member in &members {
            check_member(member)?;
            if !member.voter {
                return Err(StoreError::Invalid("a cluster begins with voters; add others afterwards".into()));
            }
            if nodes.insert(member.id, node_of(member)).is_some() {
                return Err(StoreError::Invalid(format!("node id {} is given twice", member.id)));
            }
        }
        self.raft.initialize(nodes).await.map_err(|error| match error {
            RaftError::APIError(error) => StoreError::Invalid(error.to_string()),
            RaftError::Fatal(error) => StoreError::Fatal(error.to_string()),
        })?;
        let highest = members.iter().map(|member| member.id).max().unwrap_or_default();
        self.use_up_ids(highest).await
    }

    /// Makes the log's counter of node ids pass `highest`, so that it never gives out an id in use.
    async fn use_up_ids(&self, highest: NodeId) -> Result<(), StoreError> {
        while self.next_node_id().await? < highest {}
        Ok(())
    }

    async fn next_node_id(&self) -> Result<NodeId, StoreError> {
        match self.propose(Command::AllocateNodeId { request: Some(self.next_request()) }).await? {
            Reply::NodeId(id) => Ok(id),
            other => Err(StoreError::Fatal(format!("a node id was asked for, the answer is {other:?}"))),
        }
    }

    /// A node id no member has or had.
    pub(crate) async fn allocate_node_id(&self) -> Result<NodeId, StoreError> {
        loop {
            let id = self.next_node_id().await?;
            let highest = self.membership().nodes().map(|(id, _)| *id).max().unwrap_or_default();
            if id > highest {
                return Ok(id);
            }
        }
    }

    /// Carries out a change here or on the leader, following the leader when it moves.
    pub(crate) async fn change(&self, change: Change) -> Result<(), StoreError> {
        let limit = match &change {
            Change::Add { member, .. } => check_member(member).map(|()| CATCH_UP_TIMEOUT + CHANGE_TIMEOUT)?,
            Change::Remove(_) => CHANGE_TIMEOUT,
        };
        let deadline = Instant::now() + limit;
        loop {
            self.check_running()?;
            let leader = self.leader();
            let changed = match leader.filter(|leader| *leader != self.id()).and_then(|leader| self.peer(leader)) {
                Some(peer) => change_there(&peer, &change).await,
                None => self.change_here(&change).await,
            };
            match changed {
                Changed::Done => return Ok(()),
                Changed::Failed(error) => return Err(error),
                Changed::NotLeader(_) if Instant::now() >= deadline => {
                    return Err(StoreError::Unavailable("no leader took the membership change in time".into()));
                }
                Changed::NotLeader(_) => self.leader_changed(leader, RETRY_PAUSE).await,
            }
        }
    }

    /// Carries out a change as leader. Doing it again changes nothing more.
    pub(crate) async fn change_here(&self, change: &Change) -> Changed {
        if !self.leads() {
            return Changed::NotLeader(self.leader());
        }
        let result = match change {
            Change::Add { member, voter } => self.add_here(member, *voter).await,
            Change::Remove(id) => self.remove_here(*id).await,
        };
        result.map_or_else(|changed| changed, |()| Changed::Done)
    }

    async fn add_here(&self, member: &Member, voter: bool) -> Result<(), Changed> {
        check_member(member).map_err(Changed::Failed)?;
        let membership = self.membership();
        if let Some(known) = membership.membership().get_node(&member.id)
            && *known != node_of(member)
        {
            let update = ChangeMembers::SetNodes(BTreeMap::from([(member.id, node_of(member))]));
            self.change_membership(update).await?;
        }
        let learner = self.raft.add_learner(member.id, node_of(member), true);
        match timeout(CATCH_UP_TIMEOUT, learner).await {
            Ok(result) => result.map(drop).map_err(refused)?,
            Err(_) => {
                let why = format!("replica {} has not caught up in time; it stays a learner", member.id);
                return Err(Changed::Failed(StoreError::Unavailable(why)));
            }
        }
        let is_voter = self.membership().voter_ids().any(|id| id == member.id);
        if voter && !is_voter {
            self.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([member.id]))).await?;
        }
        Ok(())
    }

    async fn remove_here(&self, id: NodeId) -> Result<(), Changed> {
        let membership = self.membership();
        let Some(node) = membership.membership().get_node(&id).cloned() else { return Ok(()) };
        self.use_up_ids(id.min(MAX_NODE_ID)).await.map_err(Changed::Failed)?;
        let ids = BTreeSet::from([id]);
        let removal = match membership.voter_ids().any(|voter| voter == id) {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        };
        self.change_membership(removal).await?;
        if id != self.id() {
            self.tell_removed(id, &node).await;
        }
        Ok(())
    }

    /// The removed replica gets no entries any more, so it is told.
    async fn tell_removed(&self, id: NodeId, node: &MemberNode) {
        let index = self.membership().log_id().as_ref().map_or(0, |id| id.index());
        let peer = self.peers.get(id, &node.peer_addr);
        let mut client = peer.control();
        match timeout(Duration::from_secs(2), client.removed(proto::RemovedNotice { index })).await {
            Ok(Ok(_)) => {}
            // It learns it from the first vote it asks for.
            _ => tracing::info!(replica = id, "the removed replica could not be told"),
        }
    }

    async fn change_membership(&self, change: ChangeMembers<NodeId, MemberNode>) -> Result<(), Changed> {
        match timeout(CHANGE_TIMEOUT, self.raft.change_membership(change, false)).await {
            Ok(result) => result.map(drop).map_err(refused),
            Err(_) => Err(Changed::Failed(StoreError::Unknown("no quorum confirmed the change in time".into()))),
        }
    }
}

async fn change_there(peer: &crate::peer::Peer, change: &Change) -> Changed {
    use proto::change_member_response::Result as R;
    let mut client = peer.control();
    match client.change_member(change.to_proto()).await {
        Ok(response) => match response.into_inner().result {
            Some(R::Done(_)) => Changed::Done,
            Some(R::Failed(error)) => Changed::Failed(
                codec::error_from_proto(error).unwrap_or_else(|error| StoreError::Unknown(error.to_string())),
            ),
            Some(R::NotLeader(to)) => Changed::NotLeader((to.leader != 0).then_some(to.leader)),
            None => Changed::NotLeader(None),
        },
        // Asking again is safe: a change that is done already changes nothing.
        Err(_) => Changed::NotLeader(None),
    }
}

fn refused(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Changed {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => Changed::NotLeader(to.leader_id),
        // Done or not, the new leader finds out.
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(to)) => Changed::NotLeader(to.leader_id),
        // Another change is under way: nothing was proposed, and it is over soon.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            error @ (ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_)),
        )) => Changed::Failed(StoreError::Unavailable(error.to_string())),
        RaftError::APIError(error) => Changed::Failed(StoreError::Invalid(error.to_string())),
        RaftError::Fatal(error) => Changed::Failed(StoreError::Unavailable(error.to_string())),
    }
}
