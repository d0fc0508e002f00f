//! What other replicas ask of this one. The caller was identified before anything here runs.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kontiki_proto::raft as proto;
use kontiki_proto::raft::raft_server::Raft as RaftService;
use openraft::errors::Fatal;
use openraft::raft::VoteResponse;
use store_api::{NodeId, StoreError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{INCARNATION, snapshot_transfer};
use crate::blocking::blocking;
use crate::codec;
use crate::forward::to_outcome;
use crate::membership::{Change, Changed};
use crate::propose::{Attempt, MAX_COMMAND_BYTES, WRITE_TIMEOUT};
use crate::replica::Replica;
use crate::tls::PeerIdentity;
use crate::types::TypeConfig;

/// Serves the peer protocol of one replica.
pub(crate) struct PeerService {
    replica: Arc<Replica>,
    /// One snapshot is received at a time.
    receiving: Semaphore,
}

impl PeerService {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        Self { replica, receiving: Semaphore::new(1) }
    }

    /// A replica without a log may have lost one. It votes only for whoever begins a cluster: a vote of
    /// a voter that forgot what it acknowledged could elect a leader that never knew it.
    fn may_vote(&self, request: &openraft::raft::VoteRequest<TypeConfig>) -> bool {
        self.replica.log.has_entries() || request.last_log_id.is_none_or(|last| last.index() == 0)
    }

    /// The log index of the committed membership, when `peer` is not in it.
    fn not_member_since(&self, peer: NodeId) -> Option<u64> {
        let committed = self.replica.effects.membership.borrow();
        let index = committed.log_id().as_ref()?.index();
        let effective = self.replica.membership();
        let known = committed.membership().get_node(&peer).or_else(|| effective.membership().get_node(&peer));
        known.is_none().then_some(index)
    }

    async fn answer_vote(
        &self,
        request: Request<proto::VoteRequest>,
        real: bool,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let not_member_since = self.not_member_since(caller(&request)?);
        let request = codec::vote_request_from_proto(request.into_inner()).map_err(bad_request)?;
        if !self.may_vote(&request) {
            tracing::warn!(candidate = %request.vote, "no vote: this replica has no log, it may have lost one");
            let own = self.replica.metrics().vote;
            return Ok(Response::new(codec::vote_response_to_proto(
                &VoteResponse::new(own, None, false),
                not_member_since,
            )));
        }
        let response = match real {
            true => self.replica.raft.vote(request).await,
            false => self.replica.raft.pre_vote(request).await,
        };
        let response = response.map_err(|error| stopped(&error.unwrap_fatal()))?;
        Ok(Response::new(codec::vote_response_to_proto(&response, not_member_since)))
    }

    async fn propose_one(replica: &Replica, bytes: bytes::Bytes, deadline: Instant) -> Attempt {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Attempt::Failed(StoreError::Invalid("the request is too large".into()));
        }
        // What cannot be decoded must never get into the log: it would stop every replica.
        match codec::command_from_bytes(bytes.clone()) {
            Ok(_) => replica.propose_here(bytes, deadline).await,
            Err(error) => Attempt::Failed(StoreError::Invalid(format!("the request is not understood: {error}"))),
        }
    }
}

fn caller<T>(request: &Request<T>) -> Result<NodeId, Status> {
    let peer = request.extensions().get::<PeerIdentity>();
    peer.map(|peer| peer.id).ok_or_else(|| Status::unauthenticated("no peer certificate"))
}

fn bad_request(error: codec::DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: &Fatal<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}

type AppendStream = Pin<Box<dyn Stream<Item = Result<proto::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RaftService for PeerService {
    type AppendEntriesStream = AppendStream;

    async fn append_entries(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<AppendStream>, Status> {
        let from = caller(&request)?;
        let requests = stream::unfold(request.into_inner(), move |mut requests| async move {
            match requests.message().await {
                Ok(Some(request)) => match codec::append_from_proto(request) {
                    Ok(request) => Some((request, requests)),
                    Err(error) => {
                        tracing::error!(from, %error, "append request not understood");
                        None
                    }
                },
                _ => None,
            }
        });
        let results = self.replica.raft.stream_append(requests);
        let responses = results.map(|result| match result {
            Ok(result) => Ok(codec::appended_to_proto(&result)),
            Err(fatal) => Err(stopped(&fatal)),
        });
        let mut response = Response::new(Box::pin(responses) as AppendStream);
        let incarnation = self.replica.identity.incarnation.parse();
        let incarnation = incarnation.map_err(|_| Status::internal("the incarnation is not a header value"))?;
        response.metadata_mut().insert(INCARNATION, incarnation);
        Ok(response)
    }

    async fn vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteResponse>, Status> {
        self.answer_vote(request, true).await
    }

    async fn pre_vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteResponse>, Status> {
        self.answer_vote(request, false).await
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let Ok(_one) = self.receiving.try_acquire() else {
            return Err(Status::resource_exhausted("another snapshot is being received"));
        };
        let from = caller(&request)?;
        let snapshots = &self.replica.effects.snapshots;
        let path = snapshots.unfinished();
        let (vote, meta) = snapshot_transfer::receive(&mut request.into_inner(), path.clone()).await?;
        tracing::info!(from, %meta, "snapshot received");
        let file = snapshots.received(path, meta.clone()).map_err(|error| Status::internal(error.to_string()))?;
        // From here on a damaged file would end this replica.
        blocking(|| file.verify()).map_err(|error| Status::data_loss(error.to_string()))?;
        let snapshot = openraft::Snapshot { meta, snapshot: file };
        let installed = self.replica.raft.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(|fatal| stopped(&fatal))?.vote;
        Ok(Response::new(proto::SnapshotResponse { vote: Some(codec::vote_to_proto(&vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        let request = codec::transfer_from_proto(request.into_inner()).map_err(bad_request)?;
        let response = self.replica.raft.handle_transfer_leader(request).await;
        let response = response.map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(codec::transferred_to_proto(&response)))
    }

    async fn read_index(
        &self,
        _request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        use proto::read_index_response::Result as Found;
        let result = match self.replica.leads() {
            true => match Replica::read_index(&self.replica.confirm).await {
                Ok(index) => Found::Index(index),
                Err(why) => return Err(Status::unavailable(why)),
            },
            false => Found::NotLeader(not_leader(self.replica.leader())),
        };
        Ok(Response::new(proto::ReadIndexResponse { result: Some(result) }))
    }

    async fn forward(
        &self,
        request: Request<proto::ForwardRequest>,
    ) -> Result<Response<proto::ForwardResponse>, Status> {
        let request = request.into_inner();
        // A caller's clock is not ours to trust with our memory.
        let wait = Duration::from_millis(request.deadline_ms).min(WRITE_TIMEOUT);
        let deadline = Instant::now() + wait;
        let proposals = request.commands.into_iter().map(|bytes| Self::propose_one(&self.replica, bytes, deadline));
        let attempts = futures::future::join_all(proposals).await;
        let outcomes = attempts.into_iter().map(to_outcome).collect();
        Ok(Response::new(proto::ForwardResponse { outcomes }))
    }

    async fn change_member(
        &self,
        request: Request<proto::ChangeMemberRequest>,
    ) -> Result<Response<proto::ChangeMemberResponse>, Status> {
        use proto::change_member_response::{Done, Result as R};
        let change = Change::from_proto(request.into_inner()).map_err(bad_request)?;
        let result = match self.replica.change_here(&change).await {
            Changed::Done => R::Done(Done {}),
            Changed::NotLeader(leader) => R::NotLeader(not_leader(leader)),
            Changed::Failed(error) => R::Failed(codec::error_to_proto(&error)),
        };
        Ok(Response::new(proto::ChangeMemberResponse { result: Some(result) }))
    }

    async fn removed(
        &self,
        request: Request<proto::RemovedNotice>,
    ) -> Result<Response<proto::RemovedResponse>, Status> {
        let from = caller(&request)?;
        tracing::info!(from, "a peer says that this replica was removed");
        self.replica.peers.report_removed(request.into_inner().index);
        Ok(Response::new(proto::RemovedResponse {}))
    }
}

fn not_leader(leader: Option<NodeId>) -> proto::NotLeader {
    proto::NotLeader { leader: leader.unwrap_or_default() }
}
