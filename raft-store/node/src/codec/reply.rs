//! `Reply` and `StoreError` <-> `proto/log.proto`.

use kontiki_proto::log as proto;
use store_api::{KeyValue, MemberError, OpReply, StoreError, TxnReply};
use store_core::Reply;

use super::{DecodeError, present};

/// For the answer to a forwarded write.
pub fn reply_to_proto(reply: &Reply) -> proto::Reply {
    use proto::reply::Reply as P;
    let reply = match reply {
        Reply::Txn(txn) => P::Txn(proto::TxnReply {
            succeeded: txn.succeeded,
            revision: txn.revision,
            replies: txn.replies.iter().map(op_to_proto).collect(),
        }),
        Reply::Lease(lease) => P::Lease(*lease),
        Reply::NodeId(id) => P::NodeId(*id),
        Reply::Renewed { ttl_ms } => P::Renewed(proto::reply::Renewed { ttl_ms: *ttl_ms }),
        Reply::Done => P::Done(proto::Done {}),
        Reply::Refused(error) => P::Refused(error_to_proto(error)),
    };
    proto::Reply { reply: Some(reply) }
}

/// The inverse of [`reply_to_proto`].
pub fn reply_from_proto(reply: proto::Reply) -> Result<Reply, DecodeError> {
    use proto::reply::Reply as P;
    Ok(match present(reply.reply, "reply")? {
        P::Txn(txn) => Reply::Txn(TxnReply {
            succeeded: txn.succeeded,
            revision: txn.revision,
            replies: ops_from_proto(txn.replies)?,
        }),
        P::Lease(lease) => Reply::Lease(lease),
        P::NodeId(id) => Reply::NodeId(id),
        P::Renewed(renewed) => Reply::Renewed { ttl_ms: renewed.ttl_ms },
        P::Done(proto::Done {}) => Reply::Done,
        P::Refused(error) => Reply::Refused(error_from_proto(error)?),
    })
}

fn op_to_proto(op: &OpReply) -> proto::OpReply {
    use proto::op_reply::{DeletedReply, GotReply, NestedReply, PutReply, RangedReply, Reply as P};
    let kvs = |kvs: &[KeyValue]| kvs.iter().map(kv_to_proto).collect();
    let reply = match op {
        OpReply::Put { previous } => P::Put(PutReply { previous: previous.as_ref().map(kv_to_proto) }),
        OpReply::Deleted { count, previous } => P::Deleted(DeletedReply { kvs: kvs(previous), count: *count as u64 }),
        OpReply::Got(kv) => P::Got(GotReply { kv: kv.as_ref().map(kv_to_proto) }),
        OpReply::Ranged { kvs: found, more, count } => {
            P::Ranged(RangedReply { kvs: kvs(found), more: *more, count: *count as u64 })
        }
        OpReply::Txn { succeeded, replies } => {
            P::Txn(NestedReply { succeeded: *succeeded, replies: replies.iter().map(op_to_proto).collect() })
        }
    };
    proto::OpReply { reply: Some(reply) }
}

fn ops_from_proto(replies: Vec<proto::OpReply>) -> Result<Vec<OpReply>, DecodeError> {
    replies.into_iter().map(op_from_proto).collect()
}

fn op_from_proto(op: proto::OpReply) -> Result<OpReply, DecodeError> {
    use proto::op_reply::Reply as P;
    let kvs = |kvs: Vec<proto::KeyValue>| kvs.into_iter().map(kv_from_proto).collect();
    let count = |count: u64| usize::try_from(count).map_err(|_| DecodeError::Range("count"));
    Ok(match present(op.reply, "operation reply")? {
        P::Put(put) => OpReply::Put { previous: put.previous.map(kv_from_proto) },
        P::Deleted(deleted) => OpReply::Deleted { count: count(deleted.count)?, previous: kvs(deleted.kvs) },
        P::Got(got) => OpReply::Got(got.kv.map(kv_from_proto)),
        P::Ranged(ranged) => OpReply::Ranged { kvs: kvs(ranged.kvs), more: ranged.more, count: count(ranged.count)? },
        P::Txn(nested) => OpReply::Txn { succeeded: nested.succeeded, replies: ops_from_proto(nested.replies)? },
    })
}

fn kv_to_proto(kv: &KeyValue) -> proto::KeyValue {
    proto::KeyValue {
        key: kv.key.clone(),
        value: kv.value.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn kv_from_proto(kv: proto::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// Keeps apart what is definite and what is not: the variant survives the wire.
pub fn error_to_proto(error: &StoreError) -> proto::StoreError {
    use proto::store_error::{Compacted, Error as P, Fenced, FutureRevision};
    let error = match error.clone() {
        StoreError::Compacted { requested, oldest } => P::Compacted(Compacted { requested, oldest }),
        StoreError::FutureRevision { requested, current } => P::FutureRevision(FutureRevision { requested, current }),
        StoreError::Fenced { key, epoch } => P::Fenced(Fenced { key, epoch }),
        StoreError::LeaseNotFound(lease) => P::LeaseNotFound(lease),
        StoreError::LeaseExists(lease) => P::LeaseExists(lease),
        StoreError::KeyNotFound(key) => P::KeyNotFound(key),
        StoreError::Member(error) => P::Member(member_error_to_proto(error).into()),
        StoreError::Unavailable(why) => P::Unavailable(why),
        StoreError::Unknown(why) => P::Unknown(why),
        StoreError::Invalid(why) => P::Invalid(why),
        StoreError::Fatal(why) => P::Fatal(why),
        StoreError::NoSpace(why) => P::NoSpace(why),
    };
    proto::StoreError { error: Some(error) }
}

/// The inverse of [`error_to_proto`].
pub fn error_from_proto(error: proto::StoreError) -> Result<StoreError, DecodeError> {
    use proto::store_error::Error as P;
    Ok(match present(error.error, "error")? {
        P::Compacted(e) => StoreError::Compacted { requested: e.requested, oldest: e.oldest },
        P::FutureRevision(e) => StoreError::FutureRevision { requested: e.requested, current: e.current },
        P::Fenced(e) => StoreError::Fenced { key: e.key, epoch: e.epoch },
        P::LeaseNotFound(lease) => StoreError::LeaseNotFound(lease),
        P::LeaseExists(lease) => StoreError::LeaseExists(lease),
        P::KeyNotFound(key) => StoreError::KeyNotFound(key),
        P::Member(error) => StoreError::Member(member_error_from_proto(error)?),
        P::Unavailable(why) => StoreError::Unavailable(why),
        P::Unknown(why) => StoreError::Unknown(why),
        P::Invalid(why) => StoreError::Invalid(why),
        P::Fatal(why) => StoreError::Fatal(why),
        P::NoSpace(why) => StoreError::NoSpace(why),
    })
}

/// Every reason with its number on the wire.
const MEMBER_ERRORS: [(MemberError, proto::store_error::MemberError); 6] = {
    use proto::store_error::MemberError as P;
    [
        (MemberError::NotFound, P::NotFound),
        (MemberError::AddressTaken, P::AddressTaken),
        (MemberError::NotLearner, P::NotLearner),
        (MemberError::NotReady, P::NotReady),
        (MemberError::NotLeader, P::NotLeader),
        (MemberError::NotVoter, P::NotVoter),
    ]
};

fn member_error_to_proto(error: MemberError) -> proto::store_error::MemberError {
    let found = MEMBER_ERRORS.iter().find(|(ours, _)| *ours == error);
    found.map_or(proto::store_error::MemberError::Unspecified, |(_, wire)| *wire)
}

fn member_error_from_proto(error: i32) -> Result<MemberError, DecodeError> {
    let found = MEMBER_ERRORS.iter().find(|(_, wire)| i32::from(*wire) == error);
    found.map(|(ours, _)| *ours).ok_or(DecodeError::Range("member error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_survives_the_wire() {
        let kv =
            KeyValue { key: "k".into(), value: "v".into(), create_revision: 1, mod_revision: 2, version: 3, lease: 4 };
        let mut replies = vec![
            Reply::Lease(1),
            Reply::NodeId(2),
            Reply::Renewed { ttl_ms: 7 },
            Reply::Done,
            Reply::Txn(TxnReply {
                succeeded: true,
                revision: 9,
                replies: vec![
                    OpReply::Put { previous: None },
                    OpReply::Put { previous: Some(kv.clone()) },
                    OpReply::Deleted { count: 2, previous: vec![kv.clone(), kv.clone()] },
                    OpReply::Deleted { count: 3, previous: vec![] },
                    OpReply::Ranged { kvs: vec![kv.clone()], more: true, count: 9 },
                    OpReply::Txn {
                        succeeded: true,
                        replies: vec![
                            OpReply::Txn { succeeded: false, replies: vec![] },
                            OpReply::Got(Some(kv.clone())),
                        ],
                    },
                    OpReply::Got(Some(kv)),
                    OpReply::Got(None),
                ],
            }),
        ];
        let errors = [
            StoreError::Compacted { requested: 1, oldest: 2 },
            StoreError::FutureRevision { requested: 3, current: 2 },
            StoreError::Fenced { key: "lead".into(), epoch: 4 },
            StoreError::LeaseNotFound(5),
            StoreError::LeaseExists(6),
            StoreError::KeyNotFound("k".into()),
            StoreError::Unavailable("a".into()),
            StoreError::Unknown("b".into()),
            StoreError::Invalid("c".into()),
            StoreError::Fatal("d".into()),
            StoreError::NoSpace("e".into()),
        ];
        let member_errors = MEMBER_ERRORS.iter().map(|(error, _)| StoreError::Member(*error));
        replies.extend(errors.into_iter().chain(member_errors).map(Reply::Refused));
        for reply in replies {
            assert_eq!(reply_from_proto(reply_to_proto(&reply)).expect("decodes"), reply);
        }
    }
}
