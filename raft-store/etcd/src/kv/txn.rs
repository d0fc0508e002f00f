//! Transactions between etcd's form and the store's. Pure.

use kontiki_proto::etcd as pb;
use pb::request_op::Request;
use pb::response_op::Response;
use store_api::{
    Compare, CompareOp, CompareTarget, LeaseId, MAX_TXN_DEPTH, Nested, Op, OpReply, Revision, Txn, TxnReply,
};
use tonic::Status;

use super::convert::{end_of, key_value};
use super::range;
use crate::errors;
use crate::face::signed;

pub(super) fn put_op(request: pb::PutRequest) -> Op {
    let pb::PutRequest { key, value, lease, ignore_value, ignore_lease, .. } = request;
    let lease: LeaseId = lease.cast_unsigned();
    match ignore_value || ignore_lease {
        false => Op::Put { key, value, lease },
        true => Op::Update { key, value: (!ignore_value).then_some(value), lease: (!ignore_lease).then_some(lease) },
    }
}

pub(super) fn delete_op(request: &pb::DeleteRangeRequest) -> Op {
    let pb::DeleteRangeRequest { key, range_end, .. } = request;
    match range_end.is_empty() {
        true => Op::Delete { key: key.clone() },
        false => Op::DeleteRange { start: key.clone(), end: end_of(key, range_end) },
    }
}

/// Of a request that was checked.
pub(super) fn translate(request: &pb::TxnRequest) -> Result<Txn, Status> {
    let Nested { compare, success, failure } = nested(request, 1)?;
    let want_previous = wants_previous(&request.success) || wants_previous(&request.failure);
    Ok(Txn { compare, success, failure, want_previous, ..Txn::default() })
}

fn nested(request: &pb::TxnRequest, depth: usize) -> Result<Nested, Status> {
    if depth > MAX_TXN_DEPTH {
        return Err(errors::TOO_MANY_OPS.into());
    }
    let ops = |ops: &[pb::RequestOp]| ops.iter().map(|one| op(one, depth)).collect::<Result<_, _>>();
    let compare = request.compare.iter().map(compare).collect::<Result<_, _>>()?;
    Ok(Nested { compare, success: ops(&request.success)?, failure: ops(&request.failure)? })
}

fn op(op: &pb::RequestOp, depth: usize) -> Result<Op, Status> {
    Ok(match &op.request {
        Some(Request::RequestRange(request)) => Op::Range(range::wanted_in_txn(request)),
        Some(Request::RequestPut(request)) => put_op(request.clone()),
        Some(Request::RequestDeleteRange(request)) => delete_op(request),
        Some(Request::RequestTxn(request)) => Op::Txn(Box::new(nested(request, depth + 1)?)),
        None => return Err(errors::KEY_NOT_FOUND.into()),
    })
}

fn wants_previous(ops: &[pb::RequestOp]) -> bool {
    ops.iter().any(|op| match &op.request {
        Some(Request::RequestPut(request)) => request.prev_kv,
        Some(Request::RequestDeleteRange(request)) => request.prev_kv,
        Some(Request::RequestTxn(request)) => wants_previous(&request.success) || wants_previous(&request.failure),
        Some(Request::RequestRange(_)) | None => false,
    })
}

/// A number of another kind than the target's counts as zero, as in etcd.
fn compare(compare: &pb::Compare) -> Result<Compare, Status> {
    use pb::compare::{CompareResult, CompareTarget as Target, TargetUnion};
    let invalid = |what: &str| Status::invalid_argument(format!("etcdserver: unknown {what} in a comparison"));
    let result = CompareResult::try_from(compare.result).map_err(|_| invalid("result"))?;
    let target = Target::try_from(compare.target).map_err(|_| invalid("target"))?;
    let op = match result {
        CompareResult::Equal => CompareOp::Equal,
        CompareResult::Greater => CompareOp::Greater,
        CompareResult::Less => CompareOp::Less,
        CompareResult::NotEqual => CompareOp::NotEqual,
    };
    let key = compare.key.clone();
    let end = (!compare.range_end.is_empty()).then(|| end_of(&key, &compare.range_end));
    let given = match (target, &compare.target_union) {
        (Target::Version, Some(TargetUnion::Version(number))) => *number,
        (Target::Create, Some(TargetUnion::CreateRevision(number))) => *number,
        (Target::Mod, Some(TargetUnion::ModRevision(number))) => *number,
        (Target::Lease, Some(TargetUnion::Lease(lease))) => *lease,
        _ => 0,
    };
    let (op, number) = unsigned(op, given);
    let target = match (target, &compare.target_union) {
        (Target::Version, _) => CompareTarget::Version(number),
        (Target::Create, _) => CompareTarget::CreateRevision(number),
        (Target::Mod, _) => CompareTarget::ModRevision(number),
        // Ids of leases are compared for equality; those that are negative are large here.
        (Target::Lease, _) => return Ok(Compare { key, end, target: CompareTarget::Lease(given.cast_unsigned()), op }),
        (Target::Value, Some(TargetUnion::Value(value))) => CompareTarget::Value(value.clone()),
        (Target::Value, _) => CompareTarget::Value(bytes::Bytes::new()),
    };
    Ok(Compare { key, end, target, op })
}

/// Numbers here are never negative: every one is above a negative number, and none is above the highest.
fn unsigned(op: CompareOp, number: i64) -> (CompareOp, u64) {
    match (u64::try_from(number), op) {
        (Ok(number), op) => (op, number),
        (Err(_), CompareOp::Greater | CompareOp::NotEqual) => (CompareOp::Less, u64::MAX),
        (Err(_), CompareOp::Equal | CompareOp::Less) => (CompareOp::Greater, u64::MAX),
    }
}

pub(super) fn response(
    request: &pb::TxnRequest,
    reply: TxnReply,
    header: Option<pb::ResponseHeader>,
) -> pb::TxnResponse {
    let TxnReply { succeeded, revision, replies } = reply;
    let mut seen = Seen { before: if changed(&replies) { revision - 1 } else { revision }, revision, changed: false };
    let responses = responses(request, succeeded, replies, &mut seen);
    pb::TxnResponse { header, succeeded, responses }
}

/// The revision as each operation saw it: the transaction's own from its first change on.
struct Seen {
    before: Revision,
    revision: Revision,
    changed: bool,
}

impl Seen {
    fn header(&mut self, changes: bool) -> Option<pb::ResponseHeader> {
        self.changed |= changes;
        let revision = if self.changed { self.revision } else { self.before };
        Some(pb::ResponseHeader { revision: signed(revision), ..pb::ResponseHeader::default() })
    }
}

fn changed(replies: &[OpReply]) -> bool {
    replies.iter().any(|reply| match reply {
        OpReply::Put { .. } => true,
        OpReply::Deleted { count, .. } => *count > 0,
        OpReply::Txn { replies, .. } => changed(replies),
        OpReply::Got(_) | OpReply::Ranged { .. } => false,
    })
}

fn responses(request: &pb::TxnRequest, succeeded: bool, replies: Vec<OpReply>, seen: &mut Seen) -> Vec<pb::ResponseOp> {
    let asked = if succeeded { &request.success } else { &request.failure };
    asked.iter().zip(replies).map(|(op, reply)| pb::ResponseOp { response: one(op, reply, seen) }).collect()
}

fn one(op: &pb::RequestOp, reply: OpReply, seen: &mut Seen) -> Option<Response> {
    Some(match (op.request.as_ref()?, reply) {
        (Request::RequestRange(request), OpReply::Ranged { kvs, count, .. }) => {
            Response::ResponseRange(range::response(request, kvs, count, seen.header(false)))
        }
        (Request::RequestPut(request), OpReply::Put { previous }) => {
            let prev_kv = previous.filter(|_| request.prev_kv).map(key_value);
            Response::ResponsePut(pb::PutResponse { header: seen.header(true), prev_kv })
        }
        (Request::RequestDeleteRange(request), OpReply::Deleted { count, previous }) => {
            let previous = if request.prev_kv { previous } else { Vec::new() };
            Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header: seen.header(count > 0),
                deleted: signed(count as u64),
                prev_kvs: previous.into_iter().map(key_value).collect(),
            })
        }
        (Request::RequestTxn(request), OpReply::Txn { succeeded, replies }) => {
            let responses = responses(request, succeeded, replies, seen);
            Response::ResponseTxn(pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses })
        }
        _ => return None,
    })
}
