//! apply(state, entry) -> (reply, events): what a committed entry does, decided purely.
//!
//! No clock, no randomness, no tokio, no hash-map order: every replica computes the same from the
//! same log (invariant S19). The state is read through [`StateRead`]; what changes comes back as
//! [`Effects`], which the engine writes in one batch.

mod apply;
mod hash;
mod overlay;
mod replies;
mod txn;
mod writes;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use store_api::{Event, KeyValue, LeaseId, RequestId, Revision, StoreError, Txn, TxnReply};

pub use apply::apply;
pub use hash::fold_hash;
pub use overlay::overlay;
pub use replies::{
    Floor, Forgot, MAX_ANSWER_VERSIONS, MAX_FLOORS, MAX_REPLIES, OpRef, Remembered, Replies, VersionRef,
};

/// What one log entry asks for. Encoded by `kontiki-proto` (`log.proto`), versioned there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Txn(Txn),
    /// Id 0: the next of the counter of leases ever granted, which is independent of the revision.
    LeaseGrant {
        request: Option<RequestId>,
        id: LeaseId,
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
    /// Ends all of these leases that were not renewed since; by the leader, when many end at once.
    LeasesEnd {
        /// With the renewals the leader knew of.
        leases: Vec<(LeaseId, u64)>,
    },
    Compact {
        revision: Revision,
    },
    /// Gives out a node id that was never used.
    AllocateNodeId {
        request: Option<RequestId>,
    },
}

impl Command {
    /// What a retry of it is recognised by.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Command::Txn(txn) => txn.request,
            Command::LeaseGrant { request, .. } | Command::AllocateNodeId { request } => *request,
            Command::LeaseRenew { .. } | Command::LeaseRevoke { .. } | Command::LeasesEnd { .. } => None,
            Command::Compact { .. } => None,
        }
    }
}

/// The answer to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Txn(TxnReply),
    Lease(LeaseId),
    NodeId(u64),
    /// Of a lease that was renewed.
    Renewed {
        ttl_ms: u64,
    },
    Done,
    /// Nothing was changed. `Unknown` here means that the request is too old to tell whether it once was applied.
    Refused(StoreError),
}

/// A lease as replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub ttl_ms: u64,
    pub renewals: u64,
    pub keys: BTreeSet<Bytes>,
}

/// What apply may look at: the state after the entry before, including entries of the same group.
/// An error is a failed disk, never an answer.
pub trait StateRead {
    fn revision(&self) -> Revision;
    fn compacted(&self) -> Revision;
    /// The newest version.
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError>;
    /// Newest versions of `[start, end)` in key order; an empty `end` is the end of the key space. `None` when
    /// their keys and values are more than `max_bytes`.
    fn range(&self, start: &[u8], end: &[u8], max_bytes: usize) -> Result<Option<Vec<KeyValue>>, StoreError>;
    /// Visits the keys of `[start, end)` as they were at a revision that is not below the compacted one, in key
    /// order, until told to stop. Values may be left out when nobody wants them.
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        at: Revision,
        keys_only: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;
    /// The version of `key` that was written at `revision`; asked only above the compacted revision or at it.
    fn version(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, StoreError>;
    fn has_lease(&self, id: LeaseId) -> bool;
    fn lease(&self, id: LeaseId) -> Option<&Lease>;
    fn last_lease_id(&self) -> LeaseId;
    fn last_node_id(&self) -> u64;
    fn replies(&self) -> &Replies;
}

/// What a scan does with each key; `Break` ends it.
pub type Visit<'a> = dyn FnMut(KeyValue) -> ControlFlow<()> + 'a;

/// What an entry changes. Everything in one batch, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The new revision, when it grew. Then there are events, and only then.
    pub revision: Option<Revision>,
    /// In the order of the operations, one per key; what watchers get.
    pub events: Vec<Event>,
    /// In the order they happen.
    pub leases: Vec<LeaseChange>,
    pub compacted: Option<Revision>,
    pub last_lease_id: Option<LeaseId>,
    pub last_node_id: Option<u64>,
    /// The answer to keep for retries.
    pub answered: Option<(RequestId, Remembered)>,
}

/// One step of the change of the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    Granted {
        id: LeaseId,
        ttl_ms: u64,
    },
    Renewed {
        id: LeaseId,
        renewals: u64,
    },
    Attached {
        id: LeaseId,
        key: Bytes,
    },
    Detached {
        id: LeaseId,
        key: Bytes,
    },
    /// Its keys were detached before.
    Revoked {
        id: LeaseId,
    },
}
