//! `Command` <-> `kontiki.log.v1.Command`.

use bytes::Bytes;
use kontiki_proto::log as proto;
use kontiki_proto::log::leases_end::Lease;
use prost::Message;
use store_api::{Compare, CompareOp, CompareTarget, Fence, Nested, Op, RequestId, Txn, TxnRange};
use store_core::Command;

use super::{DecodeError, FORMAT, known_format, present};

/// Encodes a command as the log carries it.
pub fn command_to_bytes(command: &Command) -> Bytes {
    let command = proto::Command { format: FORMAT, command: Some(to_proto(command)) };
    command.encode_to_vec().into()
}

/// Decodes a command; keys and values share `bytes`.
pub fn command_from_bytes(bytes: Bytes) -> Result<Command, DecodeError> {
    let decoded = proto::Command::decode(bytes)?;
    known_format(decoded.format)?;
    from_proto(present(decoded.command, "command")?)
}

fn to_proto(command: &Command) -> proto::command::Command {
    use proto::command::Command as P;
    match command {
        Command::Txn(txn) => P::Txn(txn_to_proto(txn)),
        Command::LeaseGrant { request, id, ttl_ms } => {
            let request = request.as_ref().map(request_to_proto);
            P::LeaseGrant(proto::LeaseGrant { request, ttl_ms: *ttl_ms, id: *id })
        }
        Command::LeaseRenew { lease } => P::LeaseRenew(proto::LeaseRenew { lease: *lease }),
        Command::LeaseRevoke { lease, only_if_renewals } => {
            P::LeaseRevoke(proto::LeaseRevoke { lease: *lease, only_if_renewals: *only_if_renewals })
        }
        Command::LeasesEnd { leases } => {
            let leases = leases.iter().map(|(lease, renewals)| Lease { lease: *lease, renewals: *renewals }).collect();
            P::LeasesEnd(proto::LeasesEnd { leases })
        }
        Command::Compact { revision } => P::Compact(proto::Compact { revision: *revision }),
        Command::AllocateNodeId { request } => {
            P::AllocateNodeId(proto::AllocateNodeId { request: request.as_ref().map(request_to_proto) })
        }
    }
}

fn from_proto(command: proto::command::Command) -> Result<Command, DecodeError> {
    use proto::command::Command as P;
    Ok(match command {
        P::Txn(txn) => Command::Txn(txn_from_proto(txn)?),
        P::LeaseGrant(grant) => {
            Command::LeaseGrant { request: request_opt(grant.request)?, id: grant.id, ttl_ms: grant.ttl_ms }
        }
        P::LeaseRenew(renew) => Command::LeaseRenew { lease: renew.lease },
        P::LeaseRevoke(revoke) => {
            Command::LeaseRevoke { lease: revoke.lease, only_if_renewals: revoke.only_if_renewals }
        }
        P::LeasesEnd(end) => Command::LeasesEnd {
            leases: end.leases.into_iter().map(|Lease { lease, renewals }| (lease, renewals)).collect(),
        },
        P::Compact(compact) => Command::Compact { revision: compact.revision },
        P::AllocateNodeId(allocate) => Command::AllocateNodeId { request: request_opt(allocate.request)? },
    })
}

fn request_to_proto(request: &RequestId) -> proto::RequestId {
    proto::RequestId { client: Bytes::copy_from_slice(&request.client.to_be_bytes()), seq: request.seq }
}

fn request_opt(request: Option<proto::RequestId>) -> Result<Option<RequestId>, DecodeError> {
    request
        .map(|request| {
            let client = request.client.as_ref().try_into().map_err(|_| DecodeError::Range("request client"))?;
            Ok(RequestId { client: u128::from_be_bytes(client), seq: request.seq })
        })
        .transpose()
}

fn txn_to_proto(txn: &Txn) -> proto::Txn {
    proto::Txn {
        request: txn.request.as_ref().map(request_to_proto),
        fence: txn.fence.as_ref().map(|fence| proto::Fence { key: fence.key.clone(), epoch: fence.epoch }),
        compare: txn.compare.iter().map(compare_to_proto).collect(),
        success: txn.success.iter().map(op_to_proto).collect(),
        failure: txn.failure.iter().map(op_to_proto).collect(),
        want_previous: txn.want_previous,
    }
}

fn txn_from_proto(txn: proto::Txn) -> Result<Txn, DecodeError> {
    Ok(Txn {
        request: request_opt(txn.request)?,
        fence: txn.fence.map(|fence| Fence { key: fence.key, epoch: fence.epoch }),
        compare: compares_from_proto(txn.compare)?,
        success: ops_from_proto(txn.success)?,
        failure: ops_from_proto(txn.failure)?,
        want_previous: txn.want_previous,
    })
}

fn compare_to_proto(compare: &Compare) -> proto::Compare {
    use proto::compare::Target;
    let op = match compare.op {
        CompareOp::Equal => proto::CompareOp::Equal,
        CompareOp::NotEqual => proto::CompareOp::NotEqual,
        CompareOp::Less => proto::CompareOp::Less,
        CompareOp::Greater => proto::CompareOp::Greater,
    };
    let target = match &compare.target {
        CompareTarget::Version(version) => Target::Version(*version),
        CompareTarget::CreateRevision(revision) => Target::CreateRevision(*revision),
        CompareTarget::ModRevision(revision) => Target::ModRevision(*revision),
        CompareTarget::Lease(lease) => Target::Lease(*lease),
        CompareTarget::Value(value) => Target::Value(value.clone()),
    };
    proto::Compare { key: compare.key.clone(), op: op.into(), target: Some(target), end: compare.end.clone() }
}

fn compares_from_proto(compares: Vec<proto::Compare>) -> Result<Vec<Compare>, DecodeError> {
    compares.into_iter().map(compare_from_proto).collect()
}

fn compare_from_proto(compare: proto::Compare) -> Result<Compare, DecodeError> {
    use proto::compare::Target;
    let op = match compare.op() {
        proto::CompareOp::Equal => CompareOp::Equal,
        proto::CompareOp::NotEqual => CompareOp::NotEqual,
        proto::CompareOp::Less => CompareOp::Less,
        proto::CompareOp::Greater => CompareOp::Greater,
        proto::CompareOp::Unspecified => return Err(DecodeError::Range("compare operator")),
    };
    let target = match present(compare.target, "compare target")? {
        Target::Version(version) => CompareTarget::Version(version),
        Target::CreateRevision(revision) => CompareTarget::CreateRevision(revision),
        Target::ModRevision(revision) => CompareTarget::ModRevision(revision),
        Target::Lease(lease) => CompareTarget::Lease(lease),
        Target::Value(value) => CompareTarget::Value(value),
    };
    Ok(Compare { key: compare.key, end: compare.end, target, op })
}

fn op_to_proto(op: &Op) -> proto::Op {
    use proto::op::{Delete, DeleteRange, Get, Op as P, Put, Range, Update};
    let op = match op {
        Op::Put { key, value, lease } => P::Put(Put { key: key.clone(), value: value.clone(), lease: *lease }),
        Op::Delete { key } => P::Delete(Delete { key: key.clone() }),
        Op::DeleteRange { start, end } => P::DeleteRange(DeleteRange { start: start.clone(), end: end.clone() }),
        Op::Get { key } => P::Get(Get { key: key.clone() }),
        Op::Update { key, value, lease } => P::Update(Update { key: key.clone(), value: value.clone(), lease: *lease }),
        Op::Range(TxnRange { start, end, at, limit, keys_only, count_only }) => P::Range(Range {
            start: start.clone(),
            end: end.clone(),
            at: *at,
            limit: *limit as u64,
            keys_only: *keys_only,
            count_only: *count_only,
        }),
        Op::Txn(nested) => P::Txn(proto::op::Nested {
            compare: nested.compare.iter().map(compare_to_proto).collect(),
            success: nested.success.iter().map(op_to_proto).collect(),
            failure: nested.failure.iter().map(op_to_proto).collect(),
        }),
    };
    proto::Op { op: Some(op) }
}

fn ops_from_proto(ops: Vec<proto::Op>) -> Result<Vec<Op>, DecodeError> {
    ops.into_iter().map(op_from_proto).collect()
}

fn op_from_proto(op: proto::Op) -> Result<Op, DecodeError> {
    use proto::op::Op as P;
    Ok(match present(op.op, "operation")? {
        P::Put(put) => Op::Put { key: put.key, value: put.value, lease: put.lease },
        P::Delete(delete) => Op::Delete { key: delete.key },
        P::DeleteRange(range) => Op::DeleteRange { start: range.start, end: range.end },
        P::Get(get) => Op::Get { key: get.key },
        P::Update(update) => Op::Update { key: update.key, value: update.value, lease: update.lease },
        P::Range(range) => Op::Range(TxnRange {
            start: range.start,
            end: range.end,
            at: range.at,
            limit: usize::try_from(range.limit).map_err(|_| DecodeError::Range("limit"))?,
            keys_only: range.keys_only,
            count_only: range.count_only,
        }),
        P::Txn(nested) => Op::Txn(Box::new(Nested {
            compare: compares_from_proto(nested.compare)?,
            success: ops_from_proto(nested.success)?,
            failure: ops_from_proto(nested.failure)?,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_commands() -> Vec<Command> {
        let request = Some(RequestId { client: u128::MAX - 7, seq: 9 });
        let compare = |target, op| Compare { key: Bytes::from_static(b"k"), end: None, target, op };
        let every = |end| Compare { end: Some(end), ..compare(CompareTarget::Version(1), CompareOp::Equal) };
        let range = TxnRange { start: "a".into(), end: "b".into(), limit: 7, ..TxnRange::default() };
        let deepest = (1..store_api::MAX_TXN_DEPTH).fold(Op::Get { key: "d".into() }, |inner, _| {
            Op::Txn(Box::new(Nested { compare: vec![every("".into())], success: vec![inner], failure: vec![] }))
        });
        let ops = vec![
            Op::Update { key: "a".into(), value: None, lease: Some(0) },
            Op::Update { key: "a".into(), value: Some("".into()), lease: None },
            Op::Range(range.clone()),
            Op::Range(TxnRange { at: Some(0), keys_only: true, ..range.clone() }),
            Op::Range(TxnRange { count_only: true, ..range }),
            Op::Txn(Box::new(Nested { failure: vec![Op::Delete { key: "x".into() }], ..Nested::default() })),
            deepest,
            Op::Put { key: "a".into(), value: "1".into(), lease: 3 },
            Op::Put { key: "".into(), value: "".into(), lease: 0 },
            Op::Delete { key: "b".into() },
            Op::DeleteRange { start: "c".into(), end: "".into() },
            Op::Get { key: "d".into() },
        ];
        vec![
            Command::Txn(Txn::default()),
            Command::Txn(Txn {
                request,
                fence: Some(Fence { key: "lead".into(), epoch: 12 }),
                compare: vec![
                    compare(CompareTarget::Version(0), CompareOp::Equal),
                    compare(CompareTarget::CreateRevision(1), CompareOp::NotEqual),
                    compare(CompareTarget::ModRevision(u64::MAX), CompareOp::Less),
                    compare(CompareTarget::Lease(4), CompareOp::Greater),
                    compare(CompareTarget::Value("v".into()), CompareOp::Equal),
                    every("".into()),
                    every("z".into()),
                ],
                success: ops.clone(),
                failure: ops,
                want_previous: true,
            }),
            Command::LeaseGrant { request, id: 0, ttl_ms: 1 },
            Command::LeaseGrant { request, id: u64::MAX, ttl_ms: 1 },
            Command::LeaseRenew { lease: 8 },
            Command::LeaseRevoke { lease: 8, only_if_renewals: None },
            Command::LeaseRevoke { lease: 8, only_if_renewals: Some(0) },
            Command::LeasesEnd { leases: vec![(8, 0), (u64::MAX, 3)] },
            Command::Compact { revision: 77 },
            Command::AllocateNodeId { request: None },
        ]
    }

    #[test]
    fn every_command_survives_the_log() {
        for command in all_commands() {
            let decoded = command_from_bytes(command_to_bytes(&command)).unwrap_or_else(|e| panic!("{command:?}: {e}"));
            assert_eq!(decoded, command);
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let newer = proto::Command { format: FORMAT + 1, command: Some(to_proto(&Command::Compact { revision: 1 })) };
        let empty = proto::Command { format: FORMAT, command: None };
        let no_format = proto::Command { format: 0, command: Some(to_proto(&Command::Compact { revision: 1 })) };
        let older = proto::Command { format: 2, command: Some(to_proto(&Command::Compact { revision: 1 })) };
        for (bytes, want) in [
            (newer.encode_to_vec(), "format 4 is newer than this version understands (3): upgrade this replica"),
            (older.encode_to_vec(), "format 2 is of a version whose store began at another revision"),
            (empty.encode_to_vec(), "command is missing"),
            (no_format.encode_to_vec(), "format is missing"),
            (vec![0xff; 20], "not the expected message"),
        ] {
            assert_eq!(command_from_bytes(bytes.into()).unwrap_err().to_string(), want);
        }
    }
}
