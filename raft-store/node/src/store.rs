//! [`store_api::Store`] on a replica.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use openraft::LogIdOptionExt;
use store_api::{
    FUTURE_READ_TIMEOUT, GetReply, LeaseId, LeaseInfo, Member, RangeReply, RangeRequest, ReadAt, Revision, Store,
    StoreError, StoreStatus, Txn, TxnReply, WatchRequest, WatchStream,
};
use store_core::{Command, Reply};

use crate::RaftStore;
use crate::blocking::blocking;
use crate::replica::Replica;

impl Replica {
    /// Waits for what the read asks to be applied; answers the revision to read at, `None` for the newest.
    async fn read_at(&self, at: ReadAt) -> Result<Option<Revision>, StoreError> {
        self.check_running()?;
        match at {
            ReadAt::Local => Ok(None),
            ReadAt::Linearizable => self.read_barrier().await.map(|_| None),
            ReadAt::Revision(revision) => {
                self.wait_applied(revision, FUTURE_READ_TIMEOUT).await?;
                Ok(Some(revision))
            }
        }
    }

    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        match self.effects.applied.wait_revision(revision, timeout).await {
            true => Ok(()),
            false => Err(StoreError::FutureRevision { requested: revision, current: self.effects.applied.revision() }),
        }
    }

    fn status(&self) -> StoreStatus {
        let raft = self.metrics();
        let voters: Vec<_> = raft.membership_config.voter_ids().collect();
        let members = raft.membership_config.nodes().map(|(id, node)| Member {
            id: *id,
            peer_addr: node.peer_addr.clone(),
            api_url: node.api_url.clone(),
            name: node.name.clone(),
            client_urls: node.client_urls.clone(),
            voter: voters.contains(id),
        });
        let (revision, state_hash) = self.effects.engine.revision_and_hash();
        StoreStatus {
            id: self.id(),
            cluster_id: self.config.cluster_id.clone(),
            leader: raft.current_leader,
            term: raft.current_term,
            last_log_index: raft.last_log_index.unwrap_or_default(),
            committed_index: raft.local_committed.index().unwrap_or_default(),
            applied_index: self.effects.applied.index(),
            revision,
            compacted_revision: self.effects.engine.compacted(),
            members: members.collect(),
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            state_hash,
        }
    }
}

fn unexpected(reply: &Reply) -> StoreError {
    StoreError::Fatal(format!("the store answered {reply:?} to another question"))
}

#[async_trait]
impl Store for RaftStore {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        txn.check()?;
        match self.replica.propose(Command::Txn(txn)).await? {
            Reply::Txn(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn get(&self, key: &[u8], at: ReadAt) -> Result<GetReply, StoreError> {
        let at = self.replica.read_at(at).await?;
        let found = self.replica.effects.engine.get(key, at);
        let (kv, revision) = found.map_err(|error| self.replica.noticed(error))?;
        Ok(GetReply { kv, revision })
    }

    async fn range(&self, range: RangeRequest) -> Result<RangeReply, StoreError> {
        let at = self.replica.read_at(range.at).await?;
        let found = blocking(|| self.replica.effects.engine.range(&range, at));
        found.map_err(|error| self.replica.noticed(error))
    }

    async fn watch(&self, watch: WatchRequest) -> Result<Box<dyn WatchStream>, StoreError> {
        self.replica.check_running()?;
        self.replica.effects.hub.watch(watch)
    }

    async fn lease_grant_as(&self, id: LeaseId, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        if ttl_ms == 0 {
            return Err(StoreError::Invalid("a lease lasts at least a millisecond".into()));
        }
        let request = Some(self.replica.next_request());
        match self.replica.propose(Command::LeaseGrant { request, id, ttl_ms }).await? {
            Reply::Lease(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        match self.replica.propose(Command::LeaseRenew { lease }).await? {
            Reply::Renewed { ttl_ms } => Ok(Duration::from_millis(ttl_ms)),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.replica.lease_info(lease).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.replica.read_barrier().await?;
        Ok(self.replica.effects.engine.lease_ids())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        done(self.replica.propose(Command::LeaseRevoke { lease, only_if_renewals: None }).await?)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        done(self.replica.propose(Command::Compact { revision }).await?)
    }

    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        self.replica.read_barrier().await
    }

    async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<(), StoreError> {
        self.replica.wait_applied(revision, timeout).await
    }

    fn applied_revision(&self) -> Revision {
        self.replica.effects.applied.revision()
    }

    fn status(&self) -> StoreStatus {
        self.replica.status()
    }

    fn health(&self) -> Result<(), String> {
        self.replica.health()
    }
}

fn done(reply: Reply) -> Result<(), StoreError> {
    match reply {
        // Ending a lease or compacting may be answered like the transaction it is.
        Reply::Done | Reply::Txn(_) => Ok(()),
        other => Err(unexpected(&other)),
    }
}
