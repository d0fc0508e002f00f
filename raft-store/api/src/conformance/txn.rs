//! Transactions: comparisons, branches, fences, retries.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::Fixture;
use crate::*;

fn put(key: Bytes, value: &'static str) -> Op {
    Op::Put { key, value: Bytes::from(value), lease: 0 }
}

/// The reply to a deletion whose transaction wants to know what was there.
fn deleted(previous: Vec<KeyValue>) -> OpReply {
    OpReply::Deleted { count: previous.len(), previous }
}

pub(super) async fn branches(t: Fixture) {
    let txn = Txn {
        want_previous: true,
        compare: vec![Compare::absent(t.key("a"))],
        success: vec![put(t.key("a"), "yes"), put(t.key("b"), "yes")],
        failure: vec![Op::Get { key: t.key("a") }, Op::Delete { key: t.key("b") }],
        ..Txn::default()
    };
    let first = t.run(txn.clone()).await;
    assert!(first.succeeded);
    assert_eq!(first.replies, [OpReply::Put { previous: None }, OpReply::Put { previous: None }]);
    let (a, b) = (t.get("a").await.expect("a"), t.get("b").await.expect("b"));
    let second = t.run(txn.clone()).await;
    assert!(!second.succeeded);
    assert_eq!(second.revision, first.revision + 1);
    assert_eq!(second.replies, [OpReply::Got(Some(a.clone())), deleted(vec![b])]);
    let both =
        Txn { compare: vec![Compare::unchanged_since(t.key("a"), a.mod_revision), Compare::absent(t.key("b"))], ..txn };
    assert!(t.run(both.clone()).await.succeeded, "all comparisons hold");
    assert!(!t.run(both).await.succeeded, "neither holds now");
}

/// Every target with every operator, on a key that exists and on one that does not: all zero, and no value.
pub(super) async fn compare_table(t: Fixture) {
    let lease = t.store.lease_grant(std::time::Duration::from_secs(600)).await.expect("lease");
    t.put("a", "first").await;
    let value = Bytes::from("m");
    t.run(Txn { success: vec![Op::Put { key: t.key("a"), value, lease }], ..Txn::default() }).await;
    let kv = t.get("a").await.expect("written");
    let empty =
        KeyValue { value: Bytes::new(), create_revision: 0, mod_revision: 0, version: 0, lease: 0, ..kv.clone() };
    for (name, kv) in [("a", &kv), ("absent", &empty)] {
        type Target = fn(u64) -> CompareTarget;
        let numbers: [(Target, u64); 4] = [
            (CompareTarget::Version, kv.version),
            (CompareTarget::CreateRevision, kv.create_revision),
            (CompareTarget::ModRevision, kv.mod_revision),
            (CompareTarget::Lease, kv.lease),
        ];
        let mut table = Vec::new();
        for (target, actual) in numbers {
            table.extend([actual.saturating_sub(1), actual, actual + 1].map(|n| (target(n), actual.cmp(&n))));
        }
        let mut table: Vec<_> = table.into_iter().map(|(target, ordering)| (target, Some(ordering))).collect();
        for wanted in ["", "l", "m", "ma", "n"] {
            let ordering = (name != "absent").then(|| kv.value.as_ref().cmp(wanted.as_bytes()));
            table.push((CompareTarget::Value(Bytes::from(wanted)), ordering));
        }
        for (target, ordering) in table {
            for (op, expected) in [
                (CompareOp::Equal, ordering.is_some_and(|o| o.is_eq())),
                (CompareOp::NotEqual, ordering.is_some_and(|o| o.is_ne())),
                (CompareOp::Less, ordering.is_some_and(|o| o.is_lt())),
                (CompareOp::Greater, ordering.is_some_and(|o| o.is_gt())),
            ] {
                let compare = Compare { key: t.key(name), end: None, target: target.clone(), op };
                let reply = t.run(Txn { compare: vec![compare.clone()], ..Txn::default() }).await;
                assert_eq!(reply.succeeded, expected, "{compare:?} of {kv:?}");
            }
        }
    }
    t.store.lease_revoke(lease).await.expect("revoke");
}

pub(super) async fn operations_in_order(t: Fixture) {
    t.put("a", "old").await;
    let get = || Op::Get { key: t.key("a") };
    let success = vec![get(), put(t.key("a"), "new"), get()];
    let reply = t.run(Txn { success, want_previous: true, ..Txn::default() }).await;
    let [OpReply::Got(Some(before)), OpReply::Put { previous }, OpReply::Got(Some(after))] = &reply.replies[..] else {
        panic!("{reply:?}")
    };
    assert_eq!((before.value.as_ref(), previous.as_ref()), (&b"old"[..], Some(before)));
    assert_eq!((after.value.as_ref(), after.mod_revision, after.version), (&b"new"[..], reply.revision, 2));

    let twice = || Op::Delete { key: t.key("a") };
    let range = Op::DeleteRange { start: t.key("a"), end: t.key("b") };
    let success = vec![twice(), twice(), range, get()];
    let reply = t.run(Txn { success, want_previous: true, ..Txn::default() }).await;
    let nothing = || deleted(vec![]);
    assert_eq!(reply.replies, [deleted(vec![after.clone()]), nothing(), nothing(), OpReply::Got(None)]);
}

pub(super) async fn one_revision(t: Fixture) {
    t.put("gone", "x").await;
    let mut success: Vec<Op> = (0..50).map(|n| put(t.key(&format!("k{n:02}")), "v")).collect();
    success.push(Op::Delete { key: t.key("gone") });
    let before = t.now().await;
    let reply = t.run(Txn { success, ..Txn::default() }).await;
    assert_eq!((reply.revision, t.now().await), (before + 1, before + 1));
    let kvs = t.range(t.all(ReadAt::Linearizable)).await.kvs;
    assert_eq!(kvs.len(), 50);
    assert!(kvs.iter().all(|kv| kv.mod_revision == reply.revision && kv.create_revision == reply.revision));
    assert_eq!(t.dump(ReadAt::Revision(before)).await, [("gone".into(), "x".into())]);
}

pub(super) async fn no_change_no_revision(t: Fixture) {
    let revision = t.put("a", "1").await;
    let key = t.key("a");
    let none = t.key("none");
    let idle = [
        Txn::default(),
        Txn { success: vec![Op::Get { key: key.clone() }], ..Txn::default() },
        Txn::delete(none.clone()),
        Txn { success: vec![Op::DeleteRange { start: none.clone(), end: prefix_end(&none) }], ..Txn::default() },
        Txn::put(key.clone(), "2").when(Compare::absent(key.clone())),
    ];
    for txn in idle {
        let reply = t.run(txn.clone()).await;
        assert_eq!(reply.revision, revision, "{txn:?}");
    }
    assert_eq!(t.now().await, revision);
    let same = t.put("a", "1").await;
    assert_eq!(same, revision + 1, "writing the same value is a write");
}

pub(super) async fn invalid(t: Fixture) {
    let key = t.key("a");
    let range = |start: &str, end: &str| Op::DeleteRange { start: t.key(start), end: t.key(end) };
    let ops: Vec<Vec<Op>> = vec![
        vec![put(key.clone(), "1"), put(key.clone(), "2")],
        vec![put(key.clone(), "1"), Op::Delete { key: key.clone() }],
        vec![Op::Delete { key: key.clone() }, put(key.clone(), "1")],
        vec![put(t.key("b"), "1"), range("a", "c")],
        vec![put(t.key("b"), "1"), Op::DeleteRange { start: t.key("a"), end: Bytes::new() }],
        vec![put(Bytes::new(), "1")],
        vec![Op::Delete { key: Bytes::new() }],
        vec![put(vec![b'k'; MAX_KEY_BYTES + 1].into(), "1")],
        vec![Op::Put { key: key.clone(), value: vec![0; MAX_TXN_BYTES + 1].into(), lease: 0 }],
        (0..=MAX_TXN_OPS).map(|_| Op::Get { key: key.clone() }).collect(),
    ];
    let before = t.now().await;
    for ops in ops {
        let failing = Txn { compare: vec![Compare::absent(t.key("a"))], failure: ops.clone(), ..Txn::default() };
        for txn in [Txn { success: ops, ..Txn::default() }, failing] {
            let result = t.store.txn(txn).await;
            assert!(matches!(result, Err(StoreError::Invalid(_))), "{result:?}");
        }
    }
    assert_eq!(t.now().await, before);
    assert_eq!(t.dump(ReadAt::Linearizable).await, []);
    let apart = Txn { success: vec![put(t.key("c"), "1"), range("a", "c")], ..Txn::default() };
    assert!(t.run(apart).await.succeeded, "a range that ends before the key does not touch it");
}

pub(super) async fn fenced(t: Fixture) {
    let fence = |epoch| Some(Fence { key: t.key("leader"), epoch });
    let write = |epoch| Txn { fence: fence(epoch), ..Txn::put(t.key("a"), epoch.to_string()) };
    let refused = |epoch| StoreError::Fenced { key: super::text(&t.key("leader")), epoch };

    assert_eq!(t.store.txn(write(7)).await, Err(refused(7)), "no leader at all");
    let first = t.put("leader", "one").await;
    t.put("leader", "one, renewed").await;
    assert!(t.run(write(first)).await.succeeded, "renewing is not a new epoch");
    t.delete("leader").await;
    let revision = t.now().await;
    assert_eq!(t.store.txn(write(first)).await, Err(refused(first)));
    assert_eq!(t.now().await, revision, "nothing was changed");
    let second = t.put("leader", "two").await;
    assert_eq!(t.store.txn(write(first)).await, Err(refused(first)));
    assert!(t.run(write(second)).await.succeeded);
    let own = Txn { fence: fence(second), ..Txn::delete(t.key("leader")) };
    assert!(t.run(own.clone()).await.succeeded, "a leader may step down");
    assert_eq!(t.store.txn(own).await, Err(refused(second)));
}

pub(super) async fn retried(t: Fixture) {
    let get = Op::Get { key: t.key("a") };
    let all = Op::Range(TxnRange { start: t.key(""), end: t.key("\x7f"), ..TxnRange::default() });
    t.put("a", "0").await;
    let txn = |seq, value| Txn {
        request: t.request(seq),
        success: vec![get.clone(), put(t.key("a"), value), Op::Delete { key: t.key("b") }, all.clone()],
        want_previous: true,
        ..Txn::default()
    };
    t.put("b", "0").await;
    let first = t.run(txn(1, "1")).await;
    assert_eq!(t.run(txn(1, "1")).await, first);
    t.put("a", "meanwhile").await;
    t.put("b", "meanwhile").await;
    let revision = t.now().await;
    assert_eq!(t.run(txn(1, "1")).await, first, "the same reply after other writes");
    assert_eq!(t.now().await, revision, "and no effect");
    let other = t.run(txn(2, "2")).await;
    assert_eq!(other.revision, revision + 1, "another request is not a retry");

    let failing = Txn { request: t.request(3), ..Txn::put(t.key("c"), "1").when(Compare::absent(t.key("a"))) };
    assert!(!t.run(failing.clone()).await.succeeded);
    t.delete("a").await;
    assert!(!t.run(failing).await.succeeded, "a comparison that failed once is not tried again");
    assert_eq!(t.get("c").await, None);

    let epoch = t.put("leader", "me").await;
    let fence = Some(Fence { key: t.key("leader"), epoch });
    let fenced = Txn { request: t.request(5), fence, ..Txn::put(t.key("d"), "1") };
    let first = t.run(fenced.clone()).await;
    t.delete("leader").await;
    assert_eq!(t.run(fenced).await, first, "what took effect before the epoch ended stays answered");
}

pub(super) async fn retried_concurrently(t: Fixture) {
    let before = t.now().await;
    for seq in 1..=10 {
        let tries = (0..8).map(|_| {
            let txn = Txn { request: t.request(seq), ..Txn::put(t.key("a"), seq.to_string()) };
            t.store.txn(txn)
        });
        let replies = join_all(tries).await;
        let first = replies[0].clone().expect("transaction");
        assert_eq!(first.revision, before + seq);
        assert!(replies.iter().all(|reply| reply.as_ref() == Ok(&first)), "{replies:?}");
    }
    assert_eq!(t.get("a").await.expect("written").version, 10);
}

/// Compare-and-swap increments from several tasks lose none and take nothing twice.
pub(super) async fn contended_counter(t: Fixture) {
    const TASKS: u64 = 4;
    const EACH: u64 = 25;
    let t = Arc::new(t);
    let tasks = (0..TASKS).map(|_| {
        let t = t.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let kv = t.get("counter").await;
                let (revision, count) = match &kv {
                    None => (0, 0),
                    Some(kv) => (kv.mod_revision, super::text(&kv.value).parse::<u64>().expect("a number")),
                };
                let next = Txn::put(t.key("counter"), (count + 1).to_string());
                let reply = t.run(next.when(Compare::unchanged_since(t.key("counter"), revision))).await;
                done += u64::from(reply.succeeded);
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("task");
    }
    let kv = t.get("counter").await.expect("written");
    assert_eq!((super::text(&kv.value), kv.version), ((TASKS * EACH).to_string(), TASKS * EACH));
}
