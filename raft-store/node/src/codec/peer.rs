//! openraft's messages between replicas <-> `proto/raft.proto`.

use bytes::Bytes;
use kontiki_proto::raft as proto;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::raft::{
    entry_from_bytes, entry_to_bytes, log_id_from_proto, log_id_to_proto, vote_from_proto, vote_to_proto,
};
use super::{DecodeError, present};
use crate::types::{TypeConfig, Vote};

/// `quiet`: nobody waits for the answer of one that accepts it.
pub(crate) fn append_to_proto(request: &AppendEntriesRequest<TypeConfig>, quiet: bool) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote_to_proto(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_proto),
        commit: request.leader_commit.as_ref().map(log_id_to_proto),
        entries: request.entries.iter().map(entry_to_bytes).collect(),
        quiet,
    }
}

pub(crate) fn append_from_proto(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    let decoded = AppendEntriesRequest {
        vote: vote(request.vote)?,
        prev_log_id: request.prev.map(log_id_from_proto),
        leader_commit: request.commit.map(log_id_from_proto),
        entries: request.entries.into_iter().map(entry_from_bytes).collect::<Result<_, _>>()?,
    };
    check_consecutive(&decoded)?;
    Ok(decoded)
}

/// Entries follow `prev` without a hole; openraft looks only at their ends.
fn check_consecutive(request: &AppendEntriesRequest<TypeConfig>) -> Result<(), DecodeError> {
    let first = request.prev_log_id.map_or(0, |prev| prev.index() + 1);
    match request.entries.iter().zip(first..).all(|(entry, index)| entry.log_id.index() == index) {
        true => Ok(()),
        false => Err(DecodeError::Range("log index of an appended entry")),
    }
}

pub(crate) fn appended_to_proto(result: &StreamAppendResult<TypeConfig>) -> proto::AppendResponse {
    use proto::append_response::{Accepted, Result as P};
    let result = match result {
        Ok(log_id) => P::Accepted(Accepted { log_id: log_id.as_ref().map(log_id_to_proto) }),
        Err(StreamAppendError::Conflict(log_id)) => P::Conflict(log_id_to_proto(log_id)),
        Err(StreamAppendError::HigherVote(vote)) => P::HigherVote(vote_to_proto(vote)),
    };
    proto::AppendResponse { result: Some(result) }
}

pub(crate) fn appended_from_proto(
    response: proto::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, DecodeError> {
    use proto::append_response::Result as P;
    Ok(match present(response.result, "append result")? {
        P::Accepted(accepted) => Ok(accepted.log_id.map(log_id_from_proto)),
        P::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id_from_proto(log_id))),
        P::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_proto(vote))),
    })
}

fn vote(vote: Option<kontiki_proto::log::Vote>) -> Result<Vote, DecodeError> {
    present(vote, "vote").map(vote_from_proto)
}

pub(crate) fn vote_request_to_proto(request: &VoteRequest<TypeConfig>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_to_proto(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to_proto),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_proto(request: proto::VoteRequest) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    Ok(VoteRequest {
        vote: vote(request.vote)?,
        last_log_id: request.last.map(log_id_from_proto),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn vote_response_to_proto(
    response: &VoteResponse<TypeConfig>,
    not_member_since: Option<u64>,
) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_to_proto(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to_proto),
        not_member_since,
    }
}

pub(crate) fn vote_response_from_proto(response: proto::VoteResponse) -> Result<VoteResponse<TypeConfig>, DecodeError> {
    Ok(VoteResponse {
        vote: vote(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last.map(log_id_from_proto),
    })
}

pub(crate) fn transfer_to_proto(request: &TransferLeaderRequest<TypeConfig>) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        from: Some(vote_to_proto(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to_proto),
    }
}

pub(crate) fn transfer_from_proto(
    request: proto::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, DecodeError> {
    Ok(TransferLeaderRequest::new(vote(request.from)?, request.to, request.last.map(log_id_from_proto)))
}

pub(crate) fn transferred_to_proto(response: &TransferLeaderResponse<TypeConfig>) -> proto::TransferLeaderResponse {
    use proto::transfer_leader_response::{LogNotFlushed, Refusal, VoteChanged};
    let refusal = match response {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => Some(Refusal::VoteChanged(VoteChanged {
            expected: Some(vote_to_proto(expected)),
            actual: Some(vote_to_proto(actual)),
        })),
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Some(Refusal::LogNotFlushed(LogNotFlushed {
            expected: expected.as_ref().map(log_id_to_proto),
            actual: actual.as_ref().map(log_id_to_proto),
        })),
    };
    proto::TransferLeaderResponse { refusal }
}

pub(crate) fn transferred_from_proto(
    response: proto::TransferLeaderResponse,
) -> Result<TransferLeaderResponse<TypeConfig>, DecodeError> {
    use proto::transfer_leader_response::Refusal;
    Ok(match response.refusal {
        None => Ok(()),
        Some(Refusal::VoteChanged(changed)) => {
            Err(TransferLeaderError::VoteChanged { expected: vote(changed.expected)?, actual: vote(changed.actual)? })
        }
        Some(Refusal::LogNotFlushed(lag)) => Err(TransferLeaderError::LogNotFlushed {
            expected: lag.expected.map(log_id_from_proto),
            actual: lag.actual.map(log_id_from_proto),
        }),
    })
}

/// Splits encoded commands so that each part is one message of at most about `max_bytes`.
pub(crate) fn split_by_bytes<T>(items: Vec<T>, max_bytes: usize, bytes: impl Fn(&T) -> &Bytes) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut filled = usize::MAX;
    for item in items {
        let len = bytes(&item).len();
        if filled.saturating_add(len) > max_bytes {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += len;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_allowed_and_in_order() {
        let items: Vec<Bytes> = [3, 4, 9, 1, 5, 5].iter().map(|len| Bytes::from(vec![0; *len])).collect();
        let parts = split_by_bytes(items, 10, |item| item);
        let lens: Vec<Vec<usize>> = parts.iter().map(|part| part.iter().map(Bytes::len).collect()).collect();
        assert_eq!(lens, [vec![3, 4], vec![9, 1], vec![5, 5]]);
        assert!(split_by_bytes(Vec::<Bytes>::new(), 10, |item| item).is_empty());
    }

    #[test]
    fn a_hole_between_entries_is_refused() {
        let id = |index| kontiki_proto::log::LogId { term: 1, node: 1, index };
        let entry = |index| {
            entry_to_bytes(&crate::types::Entry {
                log_id: log_id_from_proto(id(index)),
                payload: openraft::EntryPayload::Blank,
            })
        };
        let request = |prev: Option<u64>, entries: &[u64]| proto::AppendRequest {
            vote: Some(vote_to_proto(&Vote::new_committed(1, 1))),
            prev: prev.map(id),
            commit: None,
            entries: entries.iter().map(|index| entry(*index)).collect(),
            quiet: false,
        };
        for (prev, entries, ok) in [
            (None, &[0, 1][..], true),
            (Some(4), &[5, 6], true),
            (Some(4), &[], true),
            (Some(4), &[6], false),
            (None, &[1], false),
            (Some(4), &[5, 7], false),
        ] {
            assert_eq!(append_from_proto(request(prev, entries)).is_ok(), ok, "{prev:?} {entries:?}");
        }
    }
}
