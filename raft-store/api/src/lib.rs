//! The store's contract: keys to bytes with revisions.
//!
//! A *revision* is one number for the whole store. It grows by exactly one for every committed
//! transaction that changed something, and every event of that transaction carries it. All
//! implementations pass [`conformance`]; [`mem::MemStore`] is the one to test against.
//!
//! The model is etcd v3's (revisions, compare-then-put transactions, leases, compaction), see
//! <https://etcd.io/docs/v3.6/learning/api/>. Differences: a transaction may be *fenced* by the
//! epoch of a leadership key, and carries a request id so that a retry has at most one effect.

mod admin;
mod conflicts;
pub mod conformance;
mod limits;
pub mod mem;
mod types;

use std::sync::Arc;
use std::time::Duration;

pub use admin::*;
use async_trait::async_trait;
pub use limits::*;
pub use types::*;

/// A replicated (or in-memory) store, as one replica offers it.
///
/// Every method may be called on any replica: reads are answered here, writes reach the leader.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs one transaction. Returns after it is durable on a quorum and applied here.
    ///
    /// With `StoreError::Unknown` the outcome is not known; retrying with the same
    /// [`Txn::request`] is safe, and then at most one of the tries takes effect.
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError>;

    /// The newest version of one key, or its version at a revision.
    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError>;

    /// Keys of `[start, end)` in byte order, at one revision.
    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError>;

    /// Opens a watch; events are delivered strictly in revision order, all events of one
    /// revision in one batch, none twice, none missing. `Compacted` may come from here or from the
    /// first [`WatchStream::next`].
    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError>;

    /// Creates a lease that ends unless renewed within `ttl`. Its id is chosen by the store.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.lease_grant_as(0, ttl).await
    }

    /// [`Self::lease_grant`] with an id chosen by the caller; 0 leaves the choice to the store. `LeaseExists`
    /// while another lease has the id.
    async fn lease_grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Puts the end of a lease off to its `ttl` from now and answers the `ttl`; `StoreError::LeaseNotFound` when
    /// it has ended.
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease now and deletes its keys in the same revision.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// What a lease is now, linearizably; `LeaseNotFound` when it has ended.
    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError>;

    /// The leases there are now, linearizably, in ascending order.
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError>;

    /// Forgets versions that are not the newest at `revision`; reads and watches below it answer `Compacted`.
    /// `FutureRevision` when it is not reached yet, `Compacted` when it is compacted already.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Waits until this replica has applied everything acknowledged anywhere before the call
    /// (Raft's ReadIndex), and returns the revision it then has.
    async fn read_barrier(&self) -> Result<Revision, StoreError>;

    /// Waits until this replica has applied `revision`, at most `timeout`.
    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError>;

    /// The revision this replica has applied.
    fn applied_revision(&self) -> Revision;

    /// What this replica knows of itself and the cluster.
    fn status(&self) -> StoreStatus;

    /// Whether the value of a key would be kept otherwise if it were written today. Only a store that changes values
    /// on their way has a reason to say so.
    async fn is_stale(&self, _key: &[u8]) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Whether values of this key are changed on their way, so that one may be there and not be readable.
    fn seals(&self, _key: &[u8]) -> bool {
        false
    }

    /// Why this replica should not be asked anything now: it stopped, is out of contact with the others, or has
    /// another state than they. For health checks; it asks nobody.
    fn health(&self) -> Result<(), String> {
        match self.status().leader {
            Some(_) => Ok(()),
            None => Err("no leader is known".to_owned()),
        }
    }
}

/// An open watch. Dropping it closes it.
#[async_trait]
pub trait WatchStream: Send {
    /// The next batch. `Compacted` means the position fell behind what the store remembers: list anew. Waiting for
    /// it may be given up: the next call goes on where this one was.
    async fn next(&mut self) -> Result<WatchBatch, StoreError>;
}

/// How a store is handed around.
pub type DynStore = Arc<dyn Store>;
/// How its administration is handed around.
pub type DynAdmin = Arc<dyn Admin>;
