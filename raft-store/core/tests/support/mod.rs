//! Random commands, and the in-memory store as the oracle that says what they must do.
//! Used by the tests of this crate and of `store-engine`.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use store_api::mem::MemStore;
use store_api::*;
use store_core::{Command, Reply};

/// Few keys, leases and requests, so that commands meet each other.
const KEYS: [&str; 8] = ["a", "a\0", "a\0b", "b", "c", "d", "e", "\u{7f}"];

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&["", "v", "w", "longer value"][..]).prop_map(Bytes::from)
}

fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => key(), 1 => Just(Bytes::new())]
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![3 => Just(0), 2 => 1..5u64]
}

fn range() -> impl Strategy<Value = TxnRange> {
    let at = prop::option::weighted(0.3, 0..25u64);
    (key(), end(), at, 0..3usize, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(start, end, at, limit, keys_only, count_only)| TxnRange { start, end, at, limit, keys_only, count_only },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let one = prop_oneof![
        6 => (key(), value(), lease()).prop_map(|(key, value, lease)| Op::Put { key, value, lease }),
        2 => (key(), prop::option::of(value()), prop::option::of(lease()))
            .prop_map(|(key, value, lease)| Op::Update { key, value, lease }),
        2 => key().prop_map(|key| Op::Delete { key }),
        2 => (key(), end()).prop_map(|(start, end)| Op::DeleteRange { start, end }),
        1 => key().prop_map(|key| Op::Get { key }),
        1 => range().prop_map(Op::Range),
    ];
    one.prop_recursive(2, 8, 3, |op| {
        let ops = || prop::collection::vec(op.clone(), 0..3);
        (prop::collection::vec(compare(), 0..2), ops(), ops())
            .prop_map(|(compare, success, failure)| Op::Txn(Box::new(Nested { compare, success, failure })))
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..4u64).prop_map(CompareTarget::Version),
        (0..30u64).prop_map(CompareTarget::CreateRevision),
        (0..30u64).prop_map(CompareTarget::ModRevision),
        (0..4u64).prop_map(CompareTarget::Lease),
        value().prop_map(CompareTarget::Value),
    ];
    let op = prop::sample::select(&[CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less, CompareOp::Greater][..]);
    (key(), prop::option::weighted(0.3, end()), target, op).prop_map(|(key, end, target, op)| Compare {
        key,
        end,
        target,
        op,
    })
}

fn txn() -> impl Strategy<Value = Command> {
    let request = prop::option::weighted(0.4, (0..2u128, 0..12u64).prop_map(|(client, seq)| RequestId { client, seq }));
    let fence = prop::option::weighted(0.1, (key(), 1..20u64).prop_map(|(key, epoch)| Fence { key, epoch }));
    let compare = prop::collection::vec(compare(), 0..3);
    let ops = || prop::collection::vec(op(), 0..4);
    (request, fence, compare, ops(), ops(), any::<bool>()).prop_map(
        |(request, fence, compare, success, failure, want_previous)| {
            Command::Txn(Txn { request, fence, compare, success, failure, want_previous })
        },
    )
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        20 => txn(),
        2 => prop_oneof![2 => Just(0), 1 => 1..5u64]
            .prop_map(|id| Command::LeaseGrant { request: None, id, ttl_ms: 3_600_000 }),
        1 => (1..5u64).prop_map(|lease| Command::LeaseRenew { lease }),
        1 => (1..5u64).prop_map(|lease| Command::LeaseRevoke { lease, only_if_renewals: None }),
        2 => (0..25u64).prop_map(|revision| Command::Compact { revision }),
    ]
}

/// The in-memory store, driven by commands.
pub(crate) struct Oracle {
    pub(crate) store: MemStore,
    runtime: tokio::runtime::Runtime,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        Self { store: MemStore::new(), runtime }
    }

    pub(crate) fn apply(&self, command: &Command) -> Reply {
        let store = &self.store;
        self.runtime.block_on(async {
            let done = |result: Result<(), StoreError>| result.map(|()| Reply::Done);
            match command.clone() {
                Command::Txn(txn) => store.txn(txn).await.map(Reply::Txn),
                Command::LeaseGrant { id, ttl_ms, .. } => {
                    store.lease_grant_as(id, Duration::from_millis(ttl_ms)).await.map(Reply::Lease)
                }
                Command::LeaseRenew { lease } => {
                    let renewed = |ttl: Duration| Reply::Renewed { ttl_ms: ttl.as_millis() as u64 };
                    store.lease_renew(lease).await.map(renewed)
                }
                Command::LeaseRevoke { lease, .. } => done(store.lease_revoke(lease).await),
                Command::Compact { revision } => done(store.compact(revision).await),
                Command::LeasesEnd { .. } => unreachable!("the store's contract ends leases one by one"),
                Command::AllocateNodeId { .. } => unreachable!("the store's contract has no node ids"),
            }
            .unwrap_or_else(Reply::Refused)
        })
    }

    /// All events of `from` and later, or that they are compacted.
    pub(crate) fn events(&self, from: Revision) -> Result<Vec<Event>, StoreError> {
        if from > self.store.applied_revision() {
            return Ok(Vec::new());
        }
        self.runtime.block_on(async {
            let request = WatchRequest { start: Bytes::new(), end: Bytes::new(), from };
            Ok(self.store.watch(request).await?.next().await?.events)
        })
    }

    pub(crate) fn range(&self, request: RangeRequest) -> Result<RangeReply, StoreError> {
        self.runtime.block_on(self.store.range(request))
    }
}

/// Whether the reply is the oracle's. What refers to compacted history may be forgotten instead.
pub(crate) fn same_reply(command: &Command, reply: &Reply, oracle: &Reply, compacted: Revision) -> bool {
    match (command, reply, oracle) {
        (Command::Txn(asked), Reply::Refused(StoreError::Unknown(_)), Reply::Txn(txn)) => {
            let oldest = oldest_read(&asked.success).min(oldest_read(&asked.failure));
            asked.request.is_some() && (txn.revision <= compacted || oldest < compacted)
        }
        _ => reply == oracle,
    }
}

fn oldest_read(ops: &[Op]) -> Revision {
    let one = |op: &Op| match op {
        Op::Range(range) => range.at.unwrap_or(Revision::MAX),
        Op::Txn(nested) => oldest_read(&nested.success).min(oldest_read(&nested.failure)),
        _ => Revision::MAX,
    };
    ops.iter().map(one).min().unwrap_or(Revision::MAX)
}

/// Everything at a revision.
pub(crate) fn everything(at: Revision) -> RangeRequest {
    RangeRequest { at: ReadAt::Revision(at), ..RangeRequest::prefix(b"", ReadAt::Local) }
}
