//! What openraft sends to other replicas.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use kontiki_proto::raft::ExchangeRequest;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use store_api::NodeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::commits;
use super::pace::Pace;
use super::pool::{Peer, Peers};
use super::snapshot_transfer;
use crate::blocking::behind;
use crate::codec;
use crate::errors::die;
use crate::snapshot::{SnapshotData, SnapshotFile};
use crate::state_machine::Effects;
use crate::types::{MemberNode, SnapshotMeta, TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;
type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Until a stream of append requests is open, connecting included.
const STREAM_SETUP: Duration = Duration::from_secs(1);
/// A request without an answer for so long ends the stream; openraft opens another.
const STREAM_STALL: Duration = Duration::from_secs(3);

/// Makes openraft's clients.
#[derive(Clone)]
pub(crate) struct NetworkFactory {
    pub(crate) me: NodeId,
    pub(crate) peers: Arc<Peers>,
    pub(crate) effects: Arc<Effects>,
}

impl NetworkFactory {
    fn network(&self, target: NodeId, node: &MemberNode, purpose: Purpose) -> Network {
        let peer = self.peers.get(target, node);
        let (peers, effects) = (self.peers.clone(), self.effects.clone());
        Network { me: self.me, peer, peers, effects, purpose, heartbeats: None }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, node: &MemberNode) -> Network {
        self.network(target, node, Purpose::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &MemberNode) -> Network {
        self.network(target, node, Purpose::Heartbeat)
    }
}

/// Before a stream that could not be opened is tried again: a dead peer must not cost a core.
const FAILED_SESSION_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Heartbeat,
    Bulk,
}

/// openraft's client to one other replica.
pub(crate) struct Network {
    me: NodeId,
    peer: Arc<Peer>,
    peers: Arc<Peers>,
    effects: Arc<Effects>,
    purpose: Purpose,
    heartbeats: Option<Heartbeats>,
}

/// One stream for all heartbeats to a peer: opening one for each costs more than the heartbeat.
struct Heartbeats {
    requests: mpsc::Sender<kontiki_proto::raft::AppendRequest>,
    answers: Streaming<kontiki_proto::raft::AppendResponse>,
}

impl Network {
    /// A small call with a deadline.
    async fn call<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Rpc<T> {
        match tokio::time::timeout(option.soft_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.me,
                target: self.peer.id,
                timeout: option.soft_ttl(),
            })),
        }
    }

    fn note_membership(&self, response: &kontiki_proto::raft::VoteResponse) {
        if let Some(index) = response.not_member_since {
            self.peers.report_removed(index);
        }
    }

    async fn open_stream(
        &self,
        requests: impl Stream<Item = kontiki_proto::raft::AppendRequest> + Send + 'static,
    ) -> Rpc<Streaming<kontiki_proto::raft::AppendResponse>> {
        let mut client = match self.purpose {
            Purpose::Heartbeat => self.peer.control(),
            Purpose::Bulk => self.peer.bulk(),
        };
        let opened = tokio::time::timeout(STREAM_SETUP, client.append_entries(requests)).await;
        let opened = opened.map_err(|_| unreachable_peer("no answer in time"))?;
        let response = opened.map_err(|status| {
            if status.code() == Code::FailedPrecondition {
                tracing::error!(peer = self.peer.id, why = status.message(), "a member is not what it was");
            }
            failed(&status)
        })?;
        Ok(response.into_inner())
    }
}

impl Network {
    /// Sends one heartbeat and waits for its answer. The stream is put back only after the answer: when
    /// openraft gives up waiting, the stream goes with the answer that nobody will read.
    async fn heartbeat(&mut self, request: AppendEntriesRequest<TypeConfig>) -> Rpc<StreamAppendResult<TypeConfig>> {
        let (started, request) = (Instant::now(), codec::append_to_proto(&request, false));
        let ended = |_| unreachable_peer("the stream of heartbeats has ended");
        let mut stream = match self.heartbeats.take() {
            Some(stream) => {
                stream.requests.send(request).await.map_err(ended)?;
                stream
            }
            None => {
                // Not after the stream is open: from a peer that is far away openraft does not wait for that, and
                // it would never hear a heartbeat.
                let (requests, queue) = mpsc::channel(1);
                requests.send(request).await.map_err(ended)?;
                Heartbeats { requests, answers: self.open_stream(ReceiverStream::new(queue)).await? }
            }
        };
        let answer = tokio::time::timeout(STREAM_STALL, stream.answers.message()).await;
        let answer = answer.map_err(|_| unreachable_peer("no answer to a heartbeat in time"))?;
        let Some(answer) = answer.map_err(|status| failed(&status))? else {
            return Err(unreachable_peer("the stream of heartbeats has ended"));
        };
        metrics::histogram!("kontiki_raft_peer_rtt_seconds", "peer" => self.peer.id.to_string())
            .record(started.elapsed().as_secs_f64());
        let result = codec::appended_from_proto(answer).map_err(bad_answer)?;
        // The receiver ends the stream after it refused.
        if result.is_ok() {
            self.heartbeats = Some(stream);
        }
        Ok(result)
    }
}

impl Network {
    /// Sends the state as it is now, at least as far as the snapshot's meta says: what it has more is committed too,
    /// and the receiver is told how far it goes.
    async fn send_snapshot(&self, vote: &Vote, snapshot: Snapshot) -> Result<Vote, Status> {
        let file = match snapshot.snapshot {
            SnapshotData::File(file) => file,
            SnapshotData::State => self.snapshot_file(snapshot.meta).await?,
        };
        let sent = snapshot_transfer::send(&self.peer, vote, &file).await;
        if sent.as_ref().is_err_and(|status| status.code() == Code::DataLoss) {
            self.look_at(file).await;
        }
        sent
    }

    async fn snapshot_file(&self, meta: SnapshotMeta) -> Result<Arc<SnapshotFile>, Status> {
        // The whole state is not written for one who is not there.
        let mut client = self.peer.control();
        let asked = tokio::time::timeout(STREAM_SETUP, client.exchange(ExchangeRequest::default())).await;
        if let Err(refused) = asked.map_err(|_| Status::unavailable("no answer in time"))?
            && !is_there(&refused)
        {
            return Err(refused);
        }
        let effects = self.effects.clone();
        let built = behind(move || effects.outgoing(&meta)).await;
        match built.map_err(io::Error::other).flatten() {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                die(&format!("cannot read the state for a snapshot: {error}"))
            }
            built => built.map_err(|error| {
                tracing::warn!(%error, "no room for the snapshot that a peer needs, trying again");
                Status::resource_exhausted(error.to_string())
            }),
        }
    }

    /// The receiver of a snapshot says that it is damaged: perhaps it was before it was sent.
    async fn look_at(&self, file: Arc<SnapshotFile>) {
        let effects = self.effects.clone();
        if let Err(error) = behind(move || effects.discard_if_damaged(&file)).await {
            tracing::error!(%error, "a damaged snapshot could not be looked at");
        }
    }
}

/// Whether a peer said it. One that is so far behind that it needs a snapshot may not know yet that this replica is a
/// member, and talks of the log only.
fn is_there(refused: &Status) -> bool {
    refused.code() == Code::PermissionDenied
}

fn unreachable_peer(why: &str) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn bad_answer(error: codec::DecodeError) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(format!("answer not understood: {error}")))
}

/// Everything but an answer that makes no sense is worth a pause before the next try.
fn failed(status: &Status) -> RPCError<TypeConfig> {
    let cause = std::error::Error::source(status).map(|cause| format!(": {cause}")).unwrap_or_default();
    let why = format!("{:?}: {}{cause}", status.code(), status.message());
    match status.code() {
        Code::Cancelled => RPCError::Network(NetworkError::from_string(why)),
        _ => unreachable_peer(&why),
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let sent_last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let mut answers = self.stream_append(stream::iter([rpc]), option).await?;
        match answers.next().await {
            Some(Ok(Ok(log_id))) if log_id == sent_last => Ok(AppendEntriesResponse::Success),
            Some(Ok(Ok(log_id))) => Ok(AppendEntriesResponse::PartialSuccess(log_id)),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => Ok(AppendEntriesResponse::HigherVote(vote)),
            Some(Err(error)) => Err(error),
            None => Err(unreachable_peer("the stream ended without an answer")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.purpose == Purpose::Heartbeat {
                let Some(request) = input.next().await else {
                    return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>);
                };
                let result = self.heartbeat(request).await?;
                return Ok(Box::pin(stream::iter([Ok(result)])) as BoxStream<'s, _>);
            }
            let pace = Arc::new(Pace::new());
            let feeding = pace.clone();
            let peer = self.peer.clone();
            let input = commits::with_entries(input, move || peer.asked_lately());
            // What follows the first and has no entries says what is committed, and that is all that an answer would
            // tell: with one write at a time it would be a quarter of all messages.
            let requests = input.enumerate().then(move |(nth, request)| {
                let pace = feeding.clone();
                async move {
                    pace.rest(&request).await;
                    let quiet = nth > 0 && request.entries.is_empty();
                    if !quiet {
                        pace.sending();
                    }
                    codec::append_to_proto(&request, quiet)
                }
            });
            let answers = match self.open_stream(requests).await {
                Ok(answers) => answers,
                Err(error) => {
                    // openraft asks for the next session at once, whatever this one said.
                    tokio::time::sleep(FAILED_SESSION_PAUSE).await;
                    return Err(error);
                }
            };
            let answers = Answers { answers, pace };
            let results = stream::unfold(Some(answers), |answers| async move {
                let mut answers = answers?;
                match answers.next().await? {
                    Ok(result) => Some((Ok(result), Some(answers))),
                    Err(error) => Some((Err(error), None)),
                }
            });
            Ok(Box::pin(results) as BoxStream<'s, _>)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self.peer.control();
        let request = codec::vote_request_to_proto(&rpc);
        let response = self.call(RPCTypes::Vote, &option, client.vote(request)).await?;
        self.note_membership(&response);
        codec::vote_response_from_proto(response).map_err(bad_answer)
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self.peer.control();
        let request = codec::vote_request_to_proto(&rpc);
        let response = self.call(RPCTypes::Vote, &option, client.pre_vote(request)).await?;
        self.note_membership(&response);
        codec::vote_response_from_proto(response).map_err(bad_answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(&vote, snapshot) => {
                let response = sent.map_err(|status| match failed(&status) {
                    RPCError::Network(error) => StreamingError::Network(error),
                    RPCError::Unreachable(error) => StreamingError::Unreachable(error),
                    RPCError::Timeout(error) => StreamingError::Timeout(error),
                })?;
                metrics::counter!("kontiki_raft_snapshots_sent_total").increment(1);
                Ok(SnapshotResponse::new(response))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let mut client = self.peer.control();
        let request = codec::transfer_to_proto(&req);
        let response = self.call(RPCTypes::TransferLeader, &option, client.transfer_leader(request)).await?;
        codec::transferred_from_proto(response).map_err(bad_answer)
    }
}

/// Answers in the order of the requests.
struct Answers {
    answers: Streaming<kontiki_proto::raft::AppendResponse>,
    pace: Arc<Pace>,
}

impl Answers {
    async fn next(&mut self) -> Option<Rpc<StreamAppendResult<TypeConfig>>> {
        loop {
            let was_waiting = self.pace.is_waiting();
            match tokio::time::timeout(STREAM_STALL, self.answers.message()).await {
                Ok(Ok(Some(answer))) => {
                    self.pace.heard();
                    return Some(codec::appended_from_proto(answer).map_err(bad_answer));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some(Err(failed(&status))),
                // Silence is an error only while an answer is due.
                Err(_) if was_waiting => {
                    return Some(Err(unreachable_peer("no answer to an append request in time")));
                }
                Err(_) => {}
            }
        }
    }
}
