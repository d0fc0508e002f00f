//! What is refused before anything is done, in etcd's order.

use kontiki_proto::etcd as pb;
use tonic::Status;

use crate::errors::{self, Known};
use crate::limits::MAX_TXN_OPS;

fn refuse_if(refused: bool, known: Known) -> Result<(), Status> {
    if refused { Err(known.into()) } else { Ok(()) }
}

pub(super) fn range(request: &pb::RangeRequest) -> Result<(), Status> {
    refuse_if(request.key.is_empty(), errors::EMPTY_KEY)?;
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    refuse_if(order.is_err() || target.is_err(), errors::INVALID_SORT)
}

pub(super) fn put(request: &pb::PutRequest) -> Result<(), Status> {
    refuse_if(request.key.is_empty(), errors::EMPTY_KEY)?;
    refuse_if(request.ignore_value && !request.value.is_empty(), errors::VALUE_PROVIDED)?;
    refuse_if(request.ignore_lease && request.lease != 0, errors::LEASE_PROVIDED)
}

pub(super) fn delete(request: &pb::DeleteRangeRequest) -> Result<(), Status> {
    refuse_if(request.key.is_empty(), errors::EMPTY_KEY)
}

pub(super) fn txn(request: &pb::TxnRequest) -> Result<(), Status> {
    branches(request, MAX_TXN_OPS)
}

/// A nested transaction may have as many operations as the one around it leaves.
fn branches(request: &pb::TxnRequest, most: usize) -> Result<(), Status> {
    let pb::TxnRequest { compare, success, failure } = request;
    let ops = compare.len().max(success.len()).max(failure.len());
    refuse_if(ops > most, errors::TOO_MANY_OPS)?;
    for compare in compare {
        refuse_if(compare.key.is_empty(), errors::EMPTY_KEY)?;
    }
    success.iter().chain(failure).try_for_each(|op| operation(op, most - ops))
}

fn operation(op: &pb::RequestOp, most: usize) -> Result<(), Status> {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete(request),
        Some(Request::RequestTxn(request)) => branches(request, most),
        None => Err(errors::KEY_NOT_FOUND.into()),
    }
}

#[cfg(test)]
mod tests {
    use pb::request_op::Request;

    use super::*;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn put_op(key: &'static str) -> pb::RequestOp {
        op(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
    }

    fn text(result: Result<(), Status>) -> String {
        result.map_or_else(|status| status.message().to_owned(), |()| "ok".to_owned())
    }

    #[test]
    fn requests_are_refused_in_etcds_words() {
        let kept = pb::PutRequest { key: "k".into(), ignore_value: true, ignore_lease: true, ..Default::default() };
        for (result, want) in [
            (range(&pb::RangeRequest::default()), "etcdserver: key is not provided"),
            (
                range(&pb::RangeRequest { key: "k".into(), sort_order: 7, ..Default::default() }),
                "etcdserver: invalid sort option",
            ),
            (
                range(&pb::RangeRequest { key: "k".into(), sort_target: -1, ..Default::default() }),
                "etcdserver: invalid sort option",
            ),
            (put(&pb::PutRequest::default()), "etcdserver: key is not provided"),
            (put(&kept), "ok"),
            (put(&pb::PutRequest { value: "v".into(), ..kept.clone() }), "etcdserver: value is provided"),
            (put(&pb::PutRequest { lease: 1, ..kept }), "etcdserver: lease is provided"),
            (delete(&pb::DeleteRangeRequest::default()), "etcdserver: key is not provided"),
            (
                txn(&pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() }),
                "etcdserver: key is not provided",
            ),
            (
                txn(&pb::TxnRequest { success: vec![pb::RequestOp::default()], ..Default::default() }),
                "etcdserver: key not found",
            ),
        ] {
            assert_eq!(text(result), want);
        }
    }

    #[test]
    fn nested_operations_count_with_those_around_them() {
        let ops = |n: usize| vec![put_op("k"); n];
        let nested = |outer: usize, inner: usize| {
            let inside = pb::TxnRequest { success: ops(inner), ..Default::default() };
            let failure = [vec![op(Request::RequestTxn(inside))], ops(outer - 1)].concat();
            txn(&pb::TxnRequest { failure, ..Default::default() })
        };
        let too_many = "etcdserver: too many operations in txn request";
        assert_eq!(text(txn(&pb::TxnRequest { success: ops(MAX_TXN_OPS), ..Default::default() })), "ok");
        assert_eq!(text(txn(&pb::TxnRequest { success: ops(MAX_TXN_OPS + 1), ..Default::default() })), too_many);
        assert_eq!(text(nested(100, MAX_TXN_OPS - 100)), "ok");
        assert_eq!(text(nested(100, MAX_TXN_OPS - 99)), too_many);
    }
}
