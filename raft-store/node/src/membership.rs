//! Changing who is a member. Carried out by the leader; any replica may be asked.

mod describe;
mod founding;
mod replace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kontiki_proto::raft as proto;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use store_api::{Member, MemberUpdate, NodeId, StoreError};
use store_core::{Command, Reply};
use store_engine::planted::{Bug, is_planted};
use tokio::time::{Instant, timeout};

use crate::codec;
use crate::replica::Replica;
use crate::types::{MemberNode, StoredMembership, TypeConfig};

/// Until a new replica must have caught up, snapshot included.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(300);
/// Until a membership change without catching up is committed.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// Until a voter must have answered that is to be relied on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Between tries while no leader is known.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Node ids are small numbers given out by the log; larger ones are a mistake.
const MAX_NODE_ID: NodeId = 10_000;

/// One membership change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add {
        member: Member,
        voter: bool,
        /// A member that does not answer any more, and goes in the change that makes the new one a voter.
        replaces: Option<NodeId>,
    },
    Remove {
        id: NodeId,
        /// Also when too few of the voters left answer: then nothing is written until they do.
        force: bool,
    },
    Update {
        id: NodeId,
        update: MemberUpdate,
    },
    /// Makes a learner that has caught up a voter.
    Promote(NodeId),
}

/// What became of it.
pub(crate) enum Changed {
    Done,
    NotLeader(Option<NodeId>),
    Failed(StoreError),
}

impl Change {
    pub(crate) fn to_proto(&self) -> proto::ChangeMemberRequest {
        use proto::change_member_request::{Add, Change as P, ClientUrls, Remove, Update};
        let change = match self {
            Change::Add { member, voter, replaces } => {
                let member = Some(codec::member_to_proto(member));
                P::Add(Add { member, voter: *voter, replaces: *replaces })
            }
            Change::Remove { id, force } => P::Remove(Remove { id: *id, force: *force }),
            Change::Update { id, update: MemberUpdate { peer_addr, name, client_urls } } => P::Update(Update {
                id: *id,
                peer_addr: peer_addr.clone(),
                name: name.clone(),
                client_urls: client_urls.clone().map(|urls| ClientUrls { urls }),
            }),
            Change::Promote(id) => P::Promote(*id),
        };
        proto::ChangeMemberRequest { change: Some(change) }
    }

    pub(crate) fn from_proto(request: proto::ChangeMemberRequest) -> Result<Self, codec::DecodeError> {
        use proto::change_member_request::Change as P;
        match request.change {
            Some(P::Add(add)) => {
                let member = add.member.ok_or(codec::DecodeError::Missing("member"))?;
                let (voter, replaces) = (add.voter, add.replaces);
                Ok(Change::Add { member: codec::member_from_proto(member, voter), voter, replaces })
            }
            Some(P::Remove(remove)) => Ok(Change::Remove { id: remove.id, force: remove.force }),
            Some(P::Update(update)) => {
                let proto::change_member_request::Update { id, peer_addr, name, client_urls } = update;
                let client_urls = client_urls.map(|client_urls| client_urls.urls);
                Ok(Change::Update { id, update: MemberUpdate { peer_addr, name, client_urls } })
            }
            Some(P::Promote(id)) => Ok(Change::Promote(id)),
            None => Err(codec::DecodeError::Missing("change")),
        }
    }
}

/// Refuses members nobody could reach.
pub(crate) fn check_member(member: &Member) -> Result<(), StoreError> {
    if member.id == 0 || member.id > MAX_NODE_ID {
        let why = format!("node id {} is not between 1 and {MAX_NODE_ID}", member.id);
        return Err(StoreError::Invalid(why));
    }
    check_address(&member.peer_addr)
}

pub(crate) fn check_address(peer_addr: &str) -> Result<(), StoreError> {
    match peer_addr.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(StoreError::Invalid(format!("peer address {peer_addr:?} is not host:port"))),
    }
}

fn node_of(member: &Member, incarnation: String) -> MemberNode {
    let Member { peer_addr, api_url, name, client_urls, .. } = member.clone();
    MemberNode { peer_addr, api_url, incarnation, name, client_urls }
}

/// Two sets of voters: a change is under way, or was left half-way.
pub(crate) fn is_joint(membership: &StoredMembership) -> bool {
    membership.membership().get_joint_config().len() > 1
}

/// Why a removal would leave the cluster without a quorum: the voters that are left must decide it themselves.
fn too_few_left(membership: &StoredMembership, gone: NodeId, answers: impl Fn(NodeId) -> bool) -> Option<String> {
    let left: Vec<NodeId> = membership.voter_ids().filter(|id| *id != gone).collect();
    let answering = left.iter().filter(|id| answers(**id)).count();
    (answering * 2 <= left.len()).then(|| {
        format!(
            "without replica {gone} only {answering} of {} voters would answer, and no write would be possible: bring \
             the others back first, or remove those that do not answer",
            left.len()
        )
    })
}

impl Replica {
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
            Change::Remove { .. } | Change::Update { .. } | Change::Promote(_) => CHANGE_TIMEOUT,
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
            Change::Add { member, voter, replaces } => self.add_here(member, *voter, *replaces).await,
            Change::Remove { id, force } => self.remove_here(*id, *force).await,
            Change::Update { id, update } => self.update_here(*id, update).await,
            Change::Promote(id) => self.promote_here(*id).await,
        };
        result.map_or_else(|changed| changed, |()| Changed::Done)
    }

    async fn add_here(&self, member: &Member, voter: bool, replaces: Option<NodeId>) -> Result<(), Changed> {
        check_member(member).map_err(Changed::Failed)?;
        self.settle_membership().await?;
        if let Some(dead) = replaces {
            self.check_dead(dead).await.map_err(Changed::Failed)?;
        }
        let node = self.identify(member).await.map_err(Changed::Failed)?;
        let membership = self.membership();
        if membership.membership().get_node(&member.id).is_some_and(|known| *known != node) {
            let update = ChangeMembers::SetNodes(BTreeMap::from([(member.id, node.clone())]));
            self.change_membership(update).await?;
        }
        let learner = self.raft.add_learner(member.id, node, true);
        match timeout(CATCH_UP_TIMEOUT, learner).await {
            Ok(result) => result.map(drop).map_err(refused)?,
            Err(_) => {
                let why = format!("replica {} has not caught up in time; it stays a learner", member.id);
                return Err(Changed::Failed(StoreError::Unavailable(why)));
            }
        }
        let is_voter = self.membership().voter_ids().any(|id| id == member.id);
        let promotion = (voter && !is_voter).then(|| ChangeMembers::AddVoterIds(BTreeSet::from([member.id])));
        let removal = match replaces {
            Some(dead) => self.replacement(dead).await.map_err(Changed::Failed)?,
            None => None,
        };
        let changes: Vec<_> = promotion.into_iter().chain(removal).collect();
        match changes.is_empty() {
            true => Ok(()),
            // One change, so that the others are never asked for a quorum that counts the dead one and the new one.
            false => self.change_membership(ChangeMembers::Batch(changes)).await,
        }
    }

    async fn remove_here(&self, id: NodeId, force: bool) -> Result<(), Changed> {
        self.settle_membership().await?;
        let membership = self.membership();
        let Some(node) = membership.membership().get_node(&id).cloned() else { return Ok(()) };
        let is_voter = membership.voter_ids().any(|voter| voter == id);
        if is_voter && !force {
            self.check_quorum_without(id, &membership).await.map_err(Changed::Failed)?;
        }
        if id == self.id() {
            // Who leads next removes it: the cluster does not wait for an election, nor this one for its end.
            self.hand_over().await;
            if !self.leads() {
                return Err(Changed::NotLeader(self.leader()));
            }
        }
        self.use_up_ids(id.min(MAX_NODE_ID)).await.map_err(Changed::Failed)?;
        let ids = BTreeSet::from([id]);
        let removal = match is_voter {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        };
        self.change_membership(removal).await?;
        if id != self.id() {
            self.tell_removed(id, &node).await;
        }
        Ok(())
    }

    async fn check_quorum_without(&self, id: NodeId, membership: &StoredMembership) -> Result<(), StoreError> {
        let others = membership.voter_ids().filter(|other| *other != id && *other != self.id());
        let asked = others.filter_map(|id| self.peer(id)).map(|peer| async move { (peer.id, answers(&peer).await) });
        let answers: BTreeMap<NodeId, bool> = futures::future::join_all(asked).await.into_iter().collect();
        let answers = |id: NodeId| id == self.id() || answers.get(&id) == Some(&true);
        too_few_left(membership, id, answers).map_or(Ok(()), |why| Err(StoreError::Invalid(why)))
    }

    /// Makes sure that this replica leads, knows all that was decided before, and that no change is half done.
    async fn settle_membership(&self) -> Result<(), Changed> {
        let confirmed = timeout(CHANGE_TIMEOUT, self.confirm_leadership()).await;
        let Ok(Ok(index)) = confirmed else { return Err(Changed::NotLeader(None)) };
        if !self.effects.applied.wait_index(index, CHANGE_TIMEOUT).await {
            return Err(Changed::Failed(StoreError::Unavailable("the leader is behind with applying".into())));
        }
        match is_joint(&self.membership()) {
            true => self.change_membership(complete()).await,
            false => Ok(()),
        }
    }

    /// Completes a membership change that a leader before this one, or a caller who lost patience, left half-way:
    /// until then both majorities are needed for every write.
    pub(crate) async fn complete_membership(&self) {
        let metrics = self.metrics();
        let (effective, committed) = (&metrics.membership_config, &metrics.committed_membership_config);
        if metrics.state.is_leader()
            && !is_planted(Bug::ChangesHalfWay)
            && is_joint(effective)
            && effective.log_id() == committed.log_id()
            && let Ok(_alone) = self.changing.try_lock()
        {
            tracing::info!(%effective, "completing a membership change that was left half-way");
            let change = timeout(CHANGE_TIMEOUT, self.raft.change_membership(complete(), false)).await;
            if !matches!(change, Ok(Ok(_))) {
                tracing::warn!("the membership change could not be completed yet");
            }
        }
    }

    /// The removed replica gets no entries any more, so it is told.
    async fn tell_removed(&self, id: NodeId, node: &MemberNode) {
        let index = self.membership().log_id().as_ref().map_or(0, |id| id.index());
        let peer = self.peers.get(id, node);
        let mut client = peer.control();
        match timeout(Duration::from_secs(2), client.removed(proto::RemovedNotice { index })).await {
            Ok(Ok(_)) => {}
            // It learns it from the first vote it asks for.
            _ => tracing::info!(replica = id, "the removed replica could not be told"),
        }
    }

    pub(crate) async fn change_membership(&self, change: ChangeMembers<NodeId, MemberNode>) -> Result<(), Changed> {
        let change = async {
            let _alone = self.changing.lock().await;
            let change = self.raft.change_membership(change, false);
            tokio::select! {
                biased;
                result = change => result.map(drop).map_err(refused),
                () = self.half_way(), if is_planted(Bug::ChangesHalfWay) => Ok(()),
            }
        };
        match timeout(CHANGE_TIMEOUT, change).await {
            Ok(result) => result,
            Err(_) => Err(Changed::Failed(StoreError::Unknown("no quorum confirmed the change in time".into()))),
        }
    }

    /// Until a change has come to where both the old and the new voters count.
    async fn half_way(&self) {
        while !is_joint(&self.membership()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Whether a member is up and knows itself as what it is taken for.
async fn answers(peer: &crate::peer::Peer) -> bool {
    let mut client = peer.control();
    matches!(timeout(ANSWER_TIMEOUT, client.exchange(proto::ExchangeRequest::default())).await, Ok(Ok(_)))
}

/// A change that changes nothing but ends one that is half done.
fn complete() -> ChangeMembers<NodeId, MemberNode> {
    ChangeMembers::AddVoterIds(BTreeSet::new())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    #[test]
    fn a_removal_leaves_a_majority_that_answers() {
        let voters = |ids: &[NodeId]| {
            let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, MemberNode::default())).collect();
            let membership = Membership::new(vec![ids.iter().copied().collect()], nodes).expect("a membership");
            StoredMembership::new(None, membership)
        };
        for (members, gone, answering, refused) in [
            (&[1, 2, 3][..], 3, &[1, 2][..], false),
            (&[1, 2, 3], 2, &[1, 2], true),
            (&[1, 2, 3], 2, &[1, 2, 3], false),
            (&[1, 2], 2, &[1], false),
            (&[1, 2, 3, 4, 5], 3, &[1, 2, 3], true),
            (&[1, 2, 3, 4, 5], 4, &[1, 2, 3], false),
        ] {
            let why = too_few_left(&voters(members), gone, |id| answering.contains(&id));
            assert_eq!(why.is_some(), refused, "{gone} of {members:?}, {answering:?} answer: {why:?}");
        }
    }
}
