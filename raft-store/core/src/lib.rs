//! apply(state, entry) -> (reply, events): what a committed entry does, decided purely.
//!
//! No clock, no randomness, no tokio, no hash-map order: every replica computes the same from the
//! same log (invariant S19). The state is read through [`StateRead`]; what changes comes back as
//! [`Effects`], which the engine writes in one batch.

use store_api::{Event, KeyValue, LeaseId, OpReply, RequestId, Revision, StoreError, Txn, TxnReply};

/// What one log entry asks for. Encoded by `kontiki-proto` (`log.proto`), versioned there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Txn(Txn),
    /// `ttl_ms`; the id is the revision-independent counter of leases ever granted.
    LeaseGrant {
        request: Option<RequestId>,
        ttl_ms: u64,
    },
    /// Proposed by the leader for leases it saw renewed; keeps `renewals` so that a stale expiry is refused.
    LeaseRenew {
        lease: LeaseId,
    },
    /// By a client, or by the leader when `ttl` has passed on its monotonic clock since it last saw `renewals` change.
    LeaseRevoke {
        lease: LeaseId,
        only_if_renewals: Option<u64>,
    },
    Compact {
        revision: Revision,
    },
    /// Gives out a node id that was never used.
    AllocateNodeId {
        request: Option<RequestId>,
    },
}

/// The answer to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Txn(TxnReply),
    Lease(LeaseId),
    NodeId(u64),
    Done,
    Refused(StoreError),
}

/// A lease as replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub ttl_ms: u64,
    pub renewals: u64,
    pub keys: std::collections::BTreeSet<bytes::Bytes>,
}

/// What apply may look at.
pub trait StateRead {
    fn revision(&self) -> Revision;
    fn compacted(&self) -> Revision;
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError>;
    /// Newest versions of `[start, end)` in key order.
    fn range(&self, start: &[u8], end: &[u8]) -> Result<Vec<KeyValue>, StoreError>;
    fn lease(&self, id: LeaseId) -> Result<Option<Lease>, StoreError>;
    fn last_lease_id(&self) -> LeaseId;
    fn last_node_id(&self) -> u64;
    /// The reply given to a request already applied.
    fn replied(&self, request: &RequestId) -> Result<Option<Reply>, StoreError>;
}

/// What an entry changes. Everything in one batch, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The new revision, when it grew.
    pub revision: Option<Revision>,
    /// In the order of the operations; what watchers get.
    pub events: Vec<Event>,
    pub replies_seen: Vec<(RequestId, Reply)>,
    pub ops: Vec<OpReply>,
}

/// Decides one entry.
pub fn apply(_state: &dyn StateRead, _command: &Command) -> Result<(Reply, Effects), StoreError> {
    todo!()
}
