//! What other replicas ask of this one. The caller was identified before anything here runs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kontiki_proto::raft as proto;
use kontiki_proto::raft::raft_server::Raft as RaftService;
use openraft::errors::Fatal;
use openraft::raft::VoteResponse;
use parking_lot::Mutex;
use store_api::{NodeId, StoreError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::caller::{Caller, Known};
use super::{TOO_LARGE, snapshot_transfer};
use crate::blocking::blocking;
use crate::codec;
use crate::exchange::{round_from_proto, round_to_proto, whole_to_proto};
use crate::forward::to_outcome;
use crate::membership::{Change, Changed};
use crate::propose::{Attempt, MAX_COMMAND_BYTES, WRITE_TIMEOUT};
use crate::replica::Replica;
use crate::scrub::SCRUB;
use crate::snapshot::SnapshotData;
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

    /// A vote of a voter that forgot what it acknowledged could elect a leader that never knew it. So a replica
    /// without a log, which may have lost one, votes only for whoever begins a cluster; and one that is a member
    /// with another disk than it has does not vote at all.
    fn may_vote(&self, request: &openraft::raft::VoteRequest<TypeConfig>) -> bool {
        let membership = self.replica.membership();
        let me = membership.membership().get_node(&self.replica.id());
        me.is_none_or(|me| me.incarnation == self.replica.identity.incarnation)
            && (self.replica.log.last().is_some() || request.last_log_id.is_none_or(|last| last.index() == 0))
    }

    /// Judges who calls by what this replica knows of the others.
    fn admit<T>(&self, request: &Request<T>, rules: &[Rule]) -> Result<Caller, Status> {
        let caller = Caller::of(request)?;
        let (committed, effective) = (self.replica.effects.membership.borrow(), self.replica.membership());
        let removed = self.replica.effects.removed.load();
        let known = Known {
            incarnation: &self.replica.identity.incarnation,
            committed: committed.membership(),
            effective: effective.membership(),
            removed: &removed,
        };
        rules.iter().try_for_each(|rule| rule(&caller, &known))?;
        Ok(caller)
    }

    /// What concerns the log may come from a member that this replica does not know yet.
    fn admit_to_log<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.admit(request, &[Caller::check_disks, Caller::check_not_removed])
    }

    fn admit_member<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.admit(request, &[Caller::check_member])
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
        let caller = self.admit(&request, &[Caller::check_disks])?;
        let not_member_since = self.not_member_since(caller.id);
        let request = codec::vote_request_from_proto(request.into_inner()).map_err(bad_request)?;
        let removed = self.replica.effects.removed.load().contains(&caller.id);
        // Who leads knows all members, and hands over to one of them. Nobody else raises its term, or that of those who
        // follow it.
        let stranger = not_member_since.is_some() && (request.leadership_transfer || self.replica.leads());
        if removed || stranger || !self.may_vote(&request) {
            tracing::warn!(candidate = %request.vote, removed, stranger, "no vote: one of us is not the member it was");
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

    fn asks(&self, caller: NodeId) {
        if let Some(peer) = self.replica.peer(caller) {
            peer.asks();
        }
    }

    async fn propose_one(replica: &Replica, bytes: bytes::Bytes, deadline: Instant) -> Attempt {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Attempt::Failed(StoreError::Invalid("the request is too large".into()));
        }
        // What cannot be decoded must never get into the log: it would stop every replica.
        let command = match codec::command_from_bytes(bytes.clone()) {
            Ok(command) => command,
            Err(error) => {
                return Attempt::Failed(StoreError::Invalid(format!("the request is not understood: {error}")));
            }
        };
        match replica.propose_here(&command, bytes, deadline).await {
            // Who forwarded it finds the answer itself.
            Attempt::Applied { index, .. } if command.request().is_some() => Attempt::Applied { index, reply: None },
            attempt => attempt,
        }
    }
}

type Rule = fn(&Caller, &Known<'_>) -> Result<(), Status>;

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
        let from = self.admit_to_log(&request)?.id;
        let effects = self.replica.effects.clone();
        // Of each request under way whether it is quiet: openraft takes a bounded number of them before it answers.
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let under_way = asked.clone();
        // Why it cannot be gone on reading.
        let broken = Arc::<Mutex<Option<Status>>>::default();
        let ends = broken.clone();
        let requests = stream::unfold(request.into_inner(), move |mut requests| {
            let (effects, asked, broken) = (effects.clone(), asked.clone(), broken.clone());
            async move {
                let request = match requests.message().await {
                    Ok(request) => request?,
                    Err(status) => {
                        *broken.lock() = Some(TOO_LARGE.status(status));
                        return None;
                    }
                };
                // It may have been removed since the stream began.
                if effects.removed.load().contains(&from) {
                    return None;
                }
                let quiet = request.quiet;
                match codec::append_from_proto(request) {
                    Ok(request) => {
                        asked.lock().push_back(quiet);
                        Some((request, requests))
                    }
                    Err(error) => {
                        tracing::error!(from, %error, "append request not understood");
                        *broken.lock() = Some(bad_request(error));
                        None
                    }
                }
            }
        });
        let results = self.replica.raft.stream_append(requests);
        let contact = self.replica.contact.clone();
        let responses = results.filter_map(move |result| {
            let quiet = under_way.lock().pop_front() == Some(true);
            let response = match result {
                Ok(result) => {
                    if result.is_ok() {
                        contact.heard(Instant::now());
                    }
                    (!quiet || result.is_err()).then(|| Ok(codec::appended_to_proto(&result)))
                }
                Err(fatal) => Some(Err(stopped(&fatal))),
            };
            std::future::ready(response)
        });
        let end = stream::once(async move { ends.lock().take().map(Err) }).filter_map(std::future::ready);
        Ok(Response::new(Box::pin(responses.chain(end))))
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
        let from = self.admit_to_log(&request)?.id;
        let Ok(_one) = self.receiving.try_acquire() else {
            return Err(Status::resource_exhausted("another snapshot is being received"));
        };
        let snapshots = &self.replica.effects.snapshots;
        let path = snapshots.unfinished();
        blocking(|| self.replica.space.look());
        let room = self.replica.space.free();
        let (vote, meta) = snapshot_transfer::receive(&mut request.into_inner(), path.clone(), room).await?;
        tracing::info!(from, %meta, "snapshot received");
        let file = snapshots.finished(path, meta.clone()).map_err(|error| Status::internal(error.to_string()))?;
        // From here on a damaged file would end this replica.
        blocking(|| file.verify()).map_err(|error| Status::data_loss(error.to_string()))?;
        let snapshot = openraft::Snapshot { meta, snapshot: SnapshotData::File(file) };
        let installed = self.replica.raft.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(|fatal| stopped(&fatal))?.vote;
        Ok(Response::new(proto::SnapshotResponse { vote: Some(codec::vote_to_proto(&vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        self.admit_to_log(&request)?;
        let request = codec::transfer_from_proto(request.into_inner()).map_err(bad_request)?;
        let response = self.replica.raft.handle_transfer_leader(request).await;
        let response = response.map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(codec::transferred_to_proto(&response)))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        use proto::read_index_response::Result as Found;
        self.asks(self.admit_member(&request)?.id);
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
        self.asks(self.admit_member(&request)?.id);
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
        self.admit_member(&request)?;
        let change = Change::from_proto(request.into_inner()).map_err(bad_request)?;
        let result = match self.replica.change_here(&change).await {
            Changed::Done => R::Done(Done {}),
            Changed::NotLeader(leader) => R::NotLeader(not_leader(leader)),
            Changed::Failed(error) => R::Failed(codec::error_to_proto(&error)),
        };
        Ok(Response::new(proto::ChangeMemberResponse { result: Some(result) }))
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::JoinResponse>, Status> {
        let caller = self.admit(&request, &[Caller::check_not_removed])?;
        let proto::JoinRequest { member, voter } = request.into_inner();
        let member = member.ok_or_else(|| Status::invalid_argument("no member is named"))?;
        if member.id != caller.id {
            return Err(Status::permission_denied(format!("replica {} may ask for itself only", caller.id)));
        }
        let member = codec::member_from_proto(member, voter);
        tracing::info!(replica = member.id, voter, "a replica asks to be made a member");
        Ok(Response::new(self.replica.admit_joining(member, voter).await))
    }

    async fn lease_remaining(
        &self,
        request: Request<proto::LeaseRemainingRequest>,
    ) -> Result<Response<proto::LeaseRemainingResponse>, Status> {
        self.admit_member(&request)?;
        Ok(Response::new(self.replica.answer_remaining(request.get_ref())))
    }

    async fn removed(
        &self,
        request: Request<proto::RemovedNotice>,
    ) -> Result<Response<proto::RemovedResponse>, Status> {
        let from = self.admit_member(&request)?.id;
        tracing::info!(from, "a peer says that this replica was removed");
        self.replica.peers.report_removed(request.into_inner().index);
        Ok(Response::new(proto::RemovedResponse {}))
    }

    async fn describe(
        &self,
        _request: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        Ok(Response::new(self.replica.description()))
    }

    async fn exchange(
        &self,
        request: Request<proto::ExchangeRequest>,
    ) -> Result<Response<proto::ExchangeResponse>, Status> {
        self.admit_member(&request)?;
        let proto::ExchangeRequest { index, scrub } = request.into_inner();
        if let Some(round) = scrub {
            self.replica.scrub.ask(round_from_proto(round));
        }
        let state = blocking(|| self.replica.effects.engine.state_at(index));
        let state = state.map(|(revision, hash)| proto::exchange_response::State { revision, hash });
        let short_of_space = self.replica.space.is_short();
        let content = self.replica.scrub.last().map(|content| proto::exchange_response::Content {
            round: Some(round_to_proto(content.round)),
            hash: content.hash,
        });
        let fenced = self.replica.diverged.load(Ordering::Acquire);
        let zone = self.replica.config.placement.zone.clone();
        let (whole, scrub) = (self.replica.scrub.whole().into_iter().map(whole_to_proto).collect(), SCRUB);
        let said = proto::ExchangeResponse { state, short_of_space, content, fenced, zone, whole, scrub };
        Ok(Response::new(said))
    }
}

pub(crate) fn not_leader(leader: Option<NodeId>) -> proto::NotLeader {
    proto::NotLeader { leader: leader.unwrap_or_default() }
}
