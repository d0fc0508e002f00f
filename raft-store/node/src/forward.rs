//! Forwarding writes to the leader: those that wait together travel in one call.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use kontiki_proto::raft as proto;
use kontiki_proto::raft::forward_response::{Applied, Outcome, outcome};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::codec;
use crate::peer::{Peer, had_no_effect};
use crate::propose::Attempt;
use crate::replica::Replica;

/// Writes of one call.
const CALL_WRITES: usize = 1_024;
/// Bytes of one call, unless one write is larger.
const CALL_BYTES: usize = 4 << 20;
/// Calls under way to the leader.
const CALLS: usize = 16;

/// A write for the leader.
pub(crate) struct Forwarded {
    pub(crate) bytes: Bytes,
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Attempt>,
}

/// Sends what waits until the replica stops.
pub(crate) async fn run(replica: Weak<Replica>, mut queue: mpsc::Receiver<Forwarded>, stop: CancellationToken) {
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut waiting = Vec::new();
    loop {
        // The slot first: what arrives meanwhile joins the call.
        let Some(Ok(slot)) = stop.run_until_cancelled(calls.clone().acquire_owned()).await else { return };
        let mut slot = Some(slot);
        let received = stop.run_until_cancelled(queue.recv_many(&mut waiting, CALL_WRITES)).await;
        let (Some(1..), Some(replica)) = (received, replica.upgrade()) else { return };
        let peer = replica.leader().filter(|leader| *leader != replica.id()).and_then(|leader| replica.peer(leader));
        let Some(peer) = peer else {
            waiting.drain(..).for_each(|write| drop(write.answer.send(Attempt::NotLeader(None))));
            continue;
        };
        for writes in codec::split_by_bytes(std::mem::take(&mut waiting), CALL_BYTES, |write| &write.bytes) {
            let slot = slot.take();
            let (peer, stop, mut leadership) = (peer.clone(), stop.clone(), replica.leadership());
            tokio::spawn(async move {
                let given_up = async {
                    tokio::select! {
                        biased;
                        () = leadership.moves_from(Some(peer.id)) => {}
                        () = stop.cancelled() => {}
                    }
                };
                send(&peer, writes, given_up).await;
                drop(slot);
            });
        }
    }
}

/// One call; every write gets its outcome. A leader that leads no more may never answer, so nobody waits for it.
async fn send(peer: &Peer, writes: Vec<Forwarded>, given_up: impl Future<Output = ()>) {
    let Some(deadline) = writes.iter().map(|write| write.deadline).max() else { return };
    let request = proto::ForwardRequest {
        commands: writes.iter().map(|write| write.bytes.clone()).collect(),
        deadline_ms: deadline.saturating_duration_since(Instant::now()).as_millis() as u64,
    };
    let mut client = peer.bulk();
    let call = async {
        tokio::select! {
            biased;
            answer = timeout_at(deadline, client.forward(request)) => answer,
            () = given_up => Ok(Err(Status::cancelled("leadership moved"))),
        }
    };
    let same_for_all = match call.await {
        Ok(Ok(response)) => return answer(writes, response.into_inner().outcomes),
        Ok(Err(status)) if had_no_effect(&status) => None,
        Ok(Err(status)) => Some(format!("the leader's answer was lost: {}", status.message())),
        Err(_) => Some("the leader did not answer in time".into()),
    };
    for write in writes {
        let attempt = match &same_for_all {
            None => Attempt::NotLeader(None),
            Some(why) => Attempt::Unknown(why.clone()),
        };
        write.answer.send(attempt).ok();
    }
}

fn answer(writes: Vec<Forwarded>, outcomes: Vec<Outcome>) {
    let mut outcomes = outcomes.into_iter();
    for write in writes {
        let attempt = outcomes.next().map_or_else(|| Attempt::Unknown("the leader did not say".into()), from_outcome);
        write.answer.send(attempt).ok();
    }
}

fn from_outcome(outcome: Outcome) -> Attempt {
    let decoded = match outcome.outcome {
        Some(outcome::Outcome::Applied(Applied { index, reply })) => {
            let reply = reply.map(codec::reply_from_proto).transpose();
            reply.map(|reply| Attempt::Applied { index, reply })
        }
        Some(outcome::Outcome::NotLeader(to)) => Ok(Attempt::NotLeader((to.leader != 0).then_some(to.leader))),
        Some(outcome::Outcome::Failed(error)) => codec::error_from_proto(error).map(|error| match error {
            store_api::StoreError::Unknown(why) => Attempt::Unknown(why),
            error => Attempt::Failed(error),
        }),
        None => Err(codec::DecodeError::Missing("outcome")),
    };
    decoded.unwrap_or_else(|error| Attempt::Unknown(format!("the leader's answer is not understood: {error}")))
}

pub(crate) fn to_outcome(attempt: Attempt) -> Outcome {
    let outcome = match attempt {
        Attempt::Applied { index, reply } => {
            outcome::Outcome::Applied(Applied { index, reply: reply.as_ref().map(codec::reply_to_proto) })
        }
        Attempt::NotLeader(leader) => {
            outcome::Outcome::NotLeader(proto::NotLeader { leader: leader.unwrap_or_default() })
        }
        Attempt::Unknown(why) => outcome::Outcome::Failed(codec::error_to_proto(&store_api::StoreError::Unknown(why))),
        Attempt::Failed(error) => outcome::Outcome::Failed(codec::error_to_proto(&error)),
    };
    Outcome { outcome: Some(outcome) }
}
