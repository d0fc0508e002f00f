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
        assert_eq!(t.store.lease_renew(lease).await, Ok(ttl));
    }
    assert!(t.get("a").await.is_some(), "renewed in time");
    t.watch(revision + 1).await.events(1).await;
    assert_eq!(t.get("a").await, None);
}

pub(super) async fn unknown_lease(t: Fixture) {
    let lease = t.store.lease_grant(LONG).await.expect("grant");
    t.store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(t.store.lease_renew(lease).await, Err(StoreError::LeaseNotFound(lease)));
    assert_eq!(t.store.lease_revoke(lease).await, Err(StoreError::LeaseNotFound(lease)));
    assert_eq!(t.store.lease(lease).await, Err(StoreError::LeaseNotFound(lease)));
    let before = t.now().await;
    let op = Op::Put { key: t.key("a"), value: Bytes::new(), lease };
    let free = Op::Put { key: t.key("b"), value: Bytes::new(), lease: 0 };
    let refused = t.store.txn(Txn { success: vec![free, op], ..Txn::default() }).await;
    assert_eq!(refused, Err(StoreError::LeaseNotFound(lease)));
    assert_eq!((t.now().await, t.dump(ReadAt::Linearizable).await), (before, vec![]), "nothing was changed");
    let none = t.store.lease_grant(Duration::ZERO).await;
    assert!(matches!(none, Err(StoreError::Invalid(_))), "{none:?}");
}

/// Ids that no other check chooses, beyond those the store gives out.
fn chosen(t: &Fixture, n: u64) -> LeaseId {
    let check = t.prefix.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
    (1 << 62) + (check << 8) + n
}

pub(super) async fn chosen_ids(t: Fixture) {
    let (one, two) = (chosen(&t, 1), chosen(&t, 2));
    assert_eq!(t.store.lease_grant_as(one, LONG).await, Ok(one));
    assert_eq!(t.store.lease_grant_as(one, LONG).await, Err(StoreError::LeaseExists(one)));
    put(&t, "a", one).await;
    t.store.lease_revoke(one).await.expect("revoke");
    assert_eq!(t.get("a").await, None);
    assert_eq!(t.store.lease_grant_as(one, LONG).await, Ok(one), "free again");
    assert_eq!(t.store.lease_grant_as(two, LONG).await, Ok(two));
    // The store's own choice does not meet a chosen one.
    let own = t.store.lease_grant(LONG).await.expect("grant");
    assert_eq!(t.store.lease_grant_as(own + 1, LONG).await, Ok(own + 1));
    let next = t.store.lease_grant(LONG).await.expect("grant");
    assert!(next > own + 1 && next < one, "{next} after {own}");
    for lease in [one, two, own, own + 1, next] {
        t.store.lease_revoke(lease).await.expect("revoke");
    }
    let none = t.store.lease_grant_as(one, Duration::ZERO).await;
    assert!(matches!(none, Err(StoreError::Invalid(_))), "{none:?}");
}

pub(super) async fn info_and_list(t: Fixture) {
    let (one, two) = (chosen(&t, 2), chosen(&t, 1));
    t.store.lease_grant_as(one, LONG).await.expect("grant");
    t.store.lease_grant_as(two, LONG * 2).await.expect("grant");
    for name in ["b", "a", "c"] {
        put(&t, name, one).await;
    }
    t.delete("c").await;
    let info = t.store.lease(one).await.expect("info");
    assert_eq!((info.id, info.ttl, info.keys), (one, LONG, vec![t.key("a"), t.key("b")]));
    assert!(info.remaining <= LONG && info.remaining > LONG / 2, "{:?}", info.remaining);
    let info = t.store.lease(two).await.expect("info");
    assert_eq!((info.ttl, info.keys), (LONG * 2, vec![]));
    let ours = |leases: Vec<LeaseId>| leases.into_iter().filter(|id| [one, two].contains(id)).collect::<Vec<_>>();
    assert_eq!(ours(t.store.leases().await.expect("leases")), [two, one]);
    t.store.lease_revoke(one).await.expect("revoke");
    assert_eq!(ours(t.store.leases().await.expect("leases")), [two]);
    t.store.lease_revoke(two).await.expect("revoke");
}

pub(super) async fn time_runs_and_renewing_resets_it(t: Fixture) {
    let ttl = Duration::from_secs(20);
    let lease = t.store.lease_grant(ttl).await.expect("grant");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = t.store.lease(lease).await.expect("info").remaining;
    assert!(passed <= ttl - Duration::from_millis(290), "{passed:?} remain");
    t.store.lease_renew(lease).await.expect("renew");
    assert!(t.store.lease(lease).await.expect("info").remaining > passed);
    t.store.lease_revoke(lease).await.expect("revoke");
}
