//! Who runs the controllers: a key in the store that lives as long as its holder's lease.
//!
//! The revision that created the key is the epoch of a leadership; every write of the leader carries it
//! and is refused once another leads.
//!
//! The replica that leads the store takes the leadership over from any other: its writes need no hop, and
//! when a leader dies the election of the store's next leader also decides who runs the controllers, without
//! waiting for a lease to end. So does a replica that was killed and is back before that, from its former process. The
//! fence makes that safe at any moment.

use std::time::Duration;

use bytes::Bytes;
use store_api::{
    Compare, DynStore, Event, Fence, LeaseId, NodeId, Op, ReadAt, Revision, StoreError, Txn, WatchRequest, prefix_end,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The key all replicas compete for.
pub const LEADERSHIP_KEY: &str = "/leases/leadership/controllers";

/// How often a replica looks whether it leads the store by now, or a watch missed a vacancy.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Replicas that do not lead the store leave the one that does this head start.
const HEAD_START: Duration = Duration::from_millis(250);

/// Lease durations without a renewal after which a holder stops by itself.
const GIVE_UP_AFTER: u32 = 3;

/// A leadership that was won.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) epoch: Revision,
    lease: LeaseId,
    won: Instant,
}

impl Held {
    pub(crate) fn fence(&self) -> Fence {
        Fence { key: Bytes::from_static(LEADERSHIP_KEY.as_bytes()), epoch: self.epoch }
    }
}

pub(crate) struct Elector {
    pub(crate) store: DynStore,
    pub(crate) replica: NodeId,
    pub(crate) identity: String,
    pub(crate) ttl: Duration,
}

impl Elector {
    /// Waits until this replica leads. Errors are retried: no quorum is no reason to give up.
    pub(crate) async fn win(&self) -> Held {
        loop {
            match self.try_win().await {
                Ok(Some(held)) => return held,
                Ok(None) => self.wait_for_vacancy().await,
                Err(error) => {
                    tracing::debug!(%error, "could not compete for the leadership");
                    tokio::time::sleep(self.ttl / 3).await;
                }
            }
        }
    }

    async fn try_win(&self) -> Result<Option<Held>, StoreError> {
        let key = Bytes::from_static(LEADERSHIP_KEY.as_bytes());
        let leads_store = self.store.status().leader == Some(self.replica);
        if let Some(current) = self.store.get(&key, ReadAt::Local).await?.kv {
            let holder = holder(&current.value);
            // Its own is held by nobody: a former process of this replica left it, or a try whose answer was lost.
            if !leads_store && holder != Some(self.replica) {
                return Ok(None);
            }
            tracing::info!(from = holder, leads_store, "taking the leadership over");
            match self.store.lease_revoke(current.lease).await {
                Ok(()) | Err(StoreError::LeaseNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if !leads_store {
            tokio::time::sleep(HEAD_START).await;
        }
        let won = Instant::now();
        let lease = self.store.lease_grant(self.ttl).await?;
        let value = Bytes::from(format!("{} {}", self.replica, self.identity));
        let put = Op::Put { key: key.clone(), value, lease };
        let txn = Txn { compare: vec![Compare::absent(key.clone())], success: vec![put], ..Txn::default() };
        let outcome = self.store.txn(txn).await;
        if let Ok(reply) = &outcome
            && reply.succeeded
        {
            return Ok(Some(Held { epoch: reply.revision, lease, won }));
        }
        // Lost, or not known: a key that hangs on this lease must not stay.
        let revoked = self.store.lease_revoke(lease).await;
        outcome.and(revoked).map(|()| None)
    }

    /// Returns when the key is deleted, or after a while.
    async fn wait_for_vacancy(&self) {
        let _ = tokio::time::timeout(LOOK_AGAIN, self.watch_for_vacancy()).await;
    }

    async fn watch_for_vacancy(&self) -> Result<(), StoreError> {
        let key = Bytes::from_static(LEADERSHIP_KEY.as_bytes());
        let current = self.store.get(&key, ReadAt::Local).await?;
        match current.kv {
            Some(_) => self.deleted_after(key, current.revision).await,
            None => Ok(()),
        }
    }

    async fn deleted_after(&self, start: Bytes, revision: Revision) -> Result<(), StoreError> {
        let request = WatchRequest { end: prefix_end(&start), start, from: revision + 1 };
        let mut watch = self.store.watch(request).await?;
        loop {
            let batch = watch.next().await?;
            if batch.events.iter().any(|event| matches!(event, Event::Delete { .. })) {
                return Ok(());
            }
        }
    }

    /// Holds the leadership until `stop`, until it cannot be renewed, or until this replica sees that it is over.
    pub(crate) async fn hold(&self, held: &Held, stop: &CancellationToken) {
        tokio::select! {
            () = self.renew(held, stop) => {}
            () = self.ends(held) => tracing::info!(epoch = held.epoch, "the leadership is over: its key is gone"),
        }
    }

    /// Another replica may take the leadership over at any time. Every write is refused from then on; there is no
    /// use in more tries until the next renewal.
    async fn ends(&self, held: &Held) {
        while !self.see_end(held).await.unwrap_or(false) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn see_end(&self, held: &Held) -> Result<bool, StoreError> {
        let key = Bytes::from_static(LEADERSHIP_KEY.as_bytes());
        let current = self.store.get(&key, ReadAt::Local).await?;
        if current.kv.is_some_and(|kv| kv.create_revision == held.epoch) {
            return self.deleted_after(key, current.revision).await.map(|()| true);
        }
        Ok(current.revision >= held.epoch)
    }

    /// Renews until `stop`, until the lease has ended, or until renewing has failed for long. While renewals
    /// fail (the store elects a leader, say) the leadership goes on: the fence, not the clock, keeps two
    /// leaders from writing.
    async fn renew(&self, held: &Held, stop: &CancellationToken) {
        let mut renewed = held.won;
        while renewed.elapsed() < self.ttl * GIVE_UP_AFTER {
            if tokio::time::timeout(self.ttl / 3, stop.cancelled()).await.is_ok() {
                return;
            }
            let began = Instant::now();
            match tokio::time::timeout(self.ttl, self.store.lease_renew(held.lease)).await {
                Ok(Ok(_)) => renewed = began,
                Ok(Err(StoreError::LeaseNotFound(_))) => {
                    return tracing::warn!(epoch = held.epoch, "the leadership is over: its lease has ended");
                }
                Ok(Err(error)) => tracing::debug!(%error, "the leadership could not be renewed yet"),
                Err(_) => tracing::debug!("renewing the leadership takes long"),
            }
        }
        tracing::warn!(epoch = held.epoch, "the leadership is given up: it could not be renewed");
    }

    /// Ends the leadership now, so that another replica takes over at once.
    pub(crate) async fn release(&self, held: Held) {
        let revoke = self.store.lease_revoke(held.lease);
        if let Ok(Err(error)) = tokio::time::timeout(self.ttl, revoke).await {
            tracing::debug!(%error, "the leadership was not released; it ends by itself");
        }
    }
}

/// The replica that holds the key: `NODE_ID IDENTITY`.
fn holder(value: &[u8]) -> Option<NodeId> {
    std::str::from_utf8(value).ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store_api::mem::MemStore;

    use super::*;

    /// Replica 1 leads the store.
    fn elector(store: &DynStore, replica: NodeId) -> Elector {
        Elector { store: store.clone(), replica, identity: format!("r{replica}"), ttl: Duration::from_millis(600) }
    }

    #[tokio::test]
    async fn leadership_moves_at_once_when_released_and_after_the_lease_when_lost() {
        let store: DynStore = Arc::new(MemStore::new());
        let (one, two) = (elector(&store, 2), elector(&store, 3));
        let first = one.win().await;
        let stale = first.fence();
        let began = Instant::now();
        let (second, ()) = tokio::join!(two.win(), one.release(first));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        let fenced = Txn { fence: Some(stale), ..Txn::put("k", "v") };
        assert!(matches!(store.txn(fenced).await, Err(StoreError::Fenced { .. })));
        let good = Txn { fence: Some(second.fence()), ..Txn::put("k", "v") };
        assert!(store.txn(good).await.is_ok());

        // `two` is never renewed: as if it were killed.
        let began = Instant::now();
        let third = one.win().await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(third.epoch > second.epoch);
    }

    #[tokio::test]
    async fn who_leads_the_store_or_held_the_leadership_before_does_not_wait_for_the_lease() {
        let store: DynStore = Arc::new(MemStore::new());
        let long = |replica| Elector { ttl: Duration::from_secs(60), ..elector(&store, replica) };
        let soon = async |elector: Elector| {
            tokio::time::timeout(Duration::from_secs(5), elector.win()).await.expect("long before the lease ends")
        };
        // None of them is renewed or released, as if each were killed.
        let killed = soon(long(2)).await;
        let back = soon(long(2)).await;
        let leader = soon(long(1)).await;
        let leader_back = soon(long(1)).await;
        assert!([&killed, &back, &leader, &leader_back].is_sorted_by(|one, next| one.epoch < next.epoch));
        let fenced = Txn { fence: Some(leader.fence()), ..Txn::put("k", "v") };
        assert!(matches!(store.txn(fenced).await, Err(StoreError::Fenced { .. })));
        let third = long(3);
        assert!(tokio::time::timeout(Duration::from_secs(1), third.win()).await.is_err(), "it is held");
    }

    #[tokio::test]
    async fn who_loses_the_leadership_stops_before_the_next_renewal() {
        let store: DynStore = Arc::new(MemStore::new());
        let one = Elector { ttl: Duration::from_secs(60), ..elector(&store, 2) };
        let held = one.win().await;
        let stop = CancellationToken::new();
        let hold = one.hold(&held, &stop);
        let taken = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            store.lease_revoke(held.lease).await.expect("revoked");
        };
        let both = async { tokio::join!(hold, taken) };
        tokio::time::timeout(Duration::from_secs(5), both).await.expect("stops long before it would renew");
    }

    #[tokio::test]
    async fn a_holder_that_renews_keeps_it() {
        let store: DynStore = Arc::new(MemStore::new());
        let (one, two) = (elector(&store, 2), elector(&store, 3));
        let held = one.win().await;
        let stop = CancellationToken::new();
        let hold = one.hold(&held, &stop);
        tokio::select! {
            () = hold => panic!("lost"),
            _ = two.win() => panic!("won twice"),
            () = tokio::time::sleep(Duration::from_millis(1500)) => {}
        }
    }
}
