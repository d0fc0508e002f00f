//! Leases: keys that live as long as they are renewed.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Fixture, brief};
use crate::*;

/// Long enough never to end within a check.
const LONG: Duration = Duration::from_secs(600);

async fn put(t: &Fixture, name: &str, lease: LeaseId) -> Revision {
    let op = Op::Put { key: t.key(name), value: Bytes::from("v"), lease };
    t.run(Txn { success: vec![op], ..Txn::default() }).await.revision
}

pub(super) async fn revoke_deletes_in_one_revision(t: Fixture) {
    let start = t.now().await;
    let lease = t.store.lease_grant(LONG).await.expect("grant");
    let other = t.store.lease_grant(LONG).await.expect("grant");
    assert!(lease != 0 && other != 0 && lease != other);
    assert_eq!(t.now().await, start, "granting takes no revision");
    for name in ["b", "a", "c"] {
        put(&t, name, lease).await;
    }
    put(&t, "other", other).await;
    let last = t.put("free", "v").await;
    assert_eq!(t.get("a").await.expect("written").lease, lease);
    t.store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(t.now().await, last + 1);
    let left: Vec<String> = t.dump(ReadAt::Linearizable).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["free", "other"]);
    let events = t.watch(last + 1).await.until(last + 1).await;
    assert_eq!(events.iter().map(|e| brief(&t, e)).collect::<Vec<_>>(), ["del a", "del b", "del c"]);
    t.store.lease_revoke(other).await.expect("revoke");
    let empty = t.store.lease_grant(LONG).await.expect("grant");
    assert!(empty > other, "ids are not given out again");
    t.store.lease_revoke(empty).await.expect("revoke");
    assert_eq!(t.now().await, last + 2, "ending a lease without keys takes no revision");
}

/// The last write of a key says which lease holds it.
pub(super) async fn attachment_moves(t: Fixture) {
    let one = t.store.lease_grant(LONG).await.expect("grant");
    let two = t.store.lease_grant(LONG).await.expect("grant");
    put(&t, "moved", one).await;
    put(&t, "moved", two).await;
    put(&t, "freed", one).await;
    t.put("freed", "v").await;
    put(&t, "deleted", one).await;
    t.delete("deleted").await;
    t.put("deleted", "v").await;
    let before = t.now().await;
    t.store.lease_revoke(one).await.expect("revoke");
    assert_eq!(t.now().await, before, "no key is left to it");
    assert_eq!(t.dump(ReadAt::Linearizable).await.len(), 3);
    t.store.lease_revoke(two).await.expect("revoke");
    assert_eq!(t.get("moved").await, None);
}

pub(super) async fn expires(t: Fixture) {
    let ttl = Duration::from_millis(700);
    let lease = t.store.lease_grant(ttl).await.expect("grant");
    let granted = Instant::now();
    let revision = put(&t, "a", lease).await;
    let events = t.watch(revision + 1).await.events(1).await;
    let lived = granted.elapsed();
    assert_eq!(events.iter().map(|e| brief(&t, e)).collect::<Vec<_>>(), ["del a"]);
    assert!(lived + Duration::from_millis(20) >= ttl, "ended after {lived:?}, before its time");
    assert_eq!(t.store.lease_renew(lease).await, Err(StoreError::LeaseNotFound(lease)));
}

pub(super) async fn renewed_lives_on(t: Fixture) {
    let ttl = Duration::from_millis(1500);
    let lease = t.store.lease_grant(ttl).await.expect("grant");
    let revision = put(&t, "a", lease).await;
    for _ in 0..4 {
        tokio::time::sleep(ttl / 3).await;
        t.store.lease_renew(lease).await.expect("renew");
    }
    assert!(t.get("a").await.is_some(), "renewed in time");
    t.watch(revision + 1).await.events(1).await;
    assert_eq!(t.get("a").await, None);
}

pub(super) async fn unknown_lease(t: Fixture) {
    let lease = t.store.lease_grant(LONG).await.expect("grant");
    t.store.lease_revoke(lease).await.expect("revoke");
    let missing = Err(StoreError::LeaseNotFound(lease));
    assert_eq!(t.store.lease_renew(lease).await, missing);
    assert_eq!(t.store.lease_revoke(lease).await, missing);
    let before = t.now().await;
    let op = Op::Put { key: t.key("a"), value: Bytes::new(), lease };
    let free = Op::Put { key: t.key("b"), value: Bytes::new(), lease: 0 };
    let refused = t.store.txn(Txn { success: vec![free, op], ..Txn::default() }).await;
    assert_eq!(refused, Err(StoreError::LeaseNotFound(lease)));
    assert_eq!((t.now().await, t.dump(ReadAt::Linearizable).await), (before, vec![]), "nothing was changed");
    let none = t.store.lease_grant(Duration::ZERO).await;
    assert!(matches!(none, Err(StoreError::Invalid(_))), "{none:?}");
}
