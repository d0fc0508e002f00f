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

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![4 => key(), 1 => Just(Bytes::new())];
    prop_oneof![
        6 => (key(), value(), prop_oneof![3 => Just(0), 2 => 1..5u64])
            .prop_map(|(key, value, lease)| Op::Put { key, value, lease }),
        2 => key().prop_map(|key| Op::Delete { key }),
        2 => (key(), end).prop_map(|(start, end)| Op::DeleteRange { start, end }),
        1 => key().prop_map(|key| Op::Get { key }),
    ]
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
    (key(), target, op).prop_map(|(key, target, op)| Compare { key, target, op })
}

fn txn() -> impl Strategy<Value = Command> {
    let request = prop::option::weighted(0.4, (0..2u128, 0..12u64).prop_map(|(client, seq)| RequestId { client, seq }));
    let fence = prop::option::weighted(0.1, (key(), 1..20u64).prop_map(|(key, epoch)| Fence { key, epoch }));
    let compare = prop::collection::vec(compare(), 0..3);
    let ops = || prop::collection::vec(op(), 0..4);
    (request, fence, compare, ops(), ops()).prop_map(|(request, fence, compare, success, failure)| {
        Command::Txn(Txn { request, fence, compare, success, failure })
    })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        20 => txn(),
        2 => Just(Command::LeaseGrant { request: None, ttl_ms: 3_600_000 }),
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
                Command::LeaseGrant { ttl_ms, .. } => {
                    store.lease_grant(Duration::from_millis(ttl_ms)).await.map(Reply::Lease)
                }
                Command::LeaseRenew { lease } => done(store.lease_renew(lease).await),
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
pub(crate) fn same_reply(reply: &Reply, oracle: &Reply, compacted: Revision) -> bool {
    match (reply, oracle) {
        (Reply::Refused(StoreError::Unknown(_)), Reply::Txn(txn)) => txn.revision <= compacted,
        _ => reply == oracle,
    }
}

/// Everything at a revision.
pub(crate) fn everything(at: Revision) -> RangeRequest {
    RangeRequest { at: ReadAt::Revision(at), ..RangeRequest::prefix(b"", ReadAt::Local) }
}
