//! What transactions can do besides putting and deleting: update, read ranges, branch again, compare ranges.

use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, text};
use crate::*;

const LONG: Duration = Duration::from_secs(600);

fn put(key: Bytes, value: &'static str) -> Op {
    Op::Put { key, value: Bytes::from(value), lease: 0 }
}

fn value_is(key: Bytes, value: &'static str) -> Compare {
    Compare { key, end: None, target: CompareTarget::Value(value.into()), op: CompareOp::Equal }
}

impl Fixture {
    async fn ops(&self, success: Vec<Op>) -> TxnReply {
        self.run(Txn { success, ..Txn::default() }).await
    }

    async fn refusal(&self, success: Vec<Op>) -> StoreError {
        self.store.txn(Txn { success, ..Txn::default() }).await.expect_err("a refusal")
    }

    fn within(&self, start: &str, end: &str) -> TxnRange {
        TxnRange { start: self.key(start), end: self.key(end), ..TxnRange::default() }
    }

    /// `NAME=VALUE` of what a range found.
    fn briefs(&self, reply: &OpReply) -> Vec<String> {
        let OpReply::Ranged { kvs, .. } = reply else { panic!("{reply:?}") };
        kvs.iter().map(|kv| format!("{}={}", self.name(&kv.key), text(&kv.value))).collect()
    }
}

pub(super) async fn previous_on_request(t: Fixture) {
    for name in ["a", "b", "c"] {
        t.put(name, "1").await;
    }
    let success = vec![
        put(t.key("a"), "2"),
        Op::Update { key: t.key("b"), value: Some("2".into()), lease: None },
        Op::DeleteRange { start: t.key("c"), end: t.key("d") },
    ];
    let silent = t.ops(success.clone()).await;
    let nothing = OpReply::Put { previous: None };
    assert_eq!(silent.replies, [nothing.clone(), nothing, OpReply::Deleted { count: 1, previous: vec![] }]);
    let before = t.range(t.all(ReadAt::Linearizable)).await.kvs;
    let told = t.run(Txn { success, want_previous: true, ..Txn::default() }).await;
    let previous = |n: usize| OpReply::Put { previous: Some(before[n].clone()) };
    assert_eq!(told.replies, [previous(0), previous(1), OpReply::Deleted { count: 0, previous: vec![] }]);
}

pub(super) async fn updates(t: Fixture) {
    let missing = Op::Update { key: t.key("a"), value: Some("1".into()), lease: None };
    let refused = t.refusal(vec![put(t.key("b"), "1"), missing.clone()]).await;
    assert_eq!(refused, StoreError::KeyNotFound(text(&t.key("a"))));
    assert_eq!(t.dump(ReadAt::Linearizable).await, [], "nothing was changed");

    let (one, two) = (t.store.lease_grant(LONG).await.expect("grant"), t.store.lease_grant(LONG).await.expect("grant"));
    t.ops(vec![Op::Put { key: t.key("a"), value: "1".into(), lease: one }]).await;
    let update =
        |value: Option<&'static str>, lease| Op::Update { key: t.key("a"), value: value.map(Bytes::from), lease };
    for (op, value, lease) in [
        (update(Some("2"), None), "2", one),
        (update(None, Some(two)), "2", two),
        (update(None, None), "2", two),
        (update(Some(""), Some(0)), "", 0),
        (update(Some("3"), Some(one)), "3", one),
    ] {
        let before = t.get("a").await.expect("there");
        let revision = t.ops(vec![op]).await.revision;
        let after = t.get("a").await.expect("there");
        let wanted =
            KeyValue { value: value.into(), lease, version: before.version + 1, mod_revision: revision, ..before };
        assert_eq!(after, wanted);
    }
    t.store.lease_revoke(two).await.expect("revoke");
    assert!(t.get("a").await.is_some(), "the lease it had before holds it no more");
    assert_eq!(t.refusal(vec![update(None, Some(two))]).await, StoreError::LeaseNotFound(two));
    t.store.lease_revoke(one).await.expect("revoke");
    assert_eq!(t.get("a").await, None);
}

pub(super) async fn ranges_inside(t: Fixture) {
    for name in ["a", "b", "d", "e"] {
        t.put(name, "1").await;
    }
    let range = || Op::Range(t.within("a", "e"));
    let reply = t
        .ops(vec![
            range(),
            put(t.key("c"), "2"),
            put(t.key("a"), "2"),
            Op::Delete { key: t.key("b") },
            range(),
            Op::Range(TxnRange { limit: 2, ..t.within("a", "e") }),
            Op::Range(TxnRange { keys_only: true, limit: 3, ..t.within("a", "e") }),
            Op::Range(TxnRange { count_only: true, limit: 1, ..t.within("a", "z") }),
            Op::Range(t.within("z", "a")),
        ])
        .await;
    assert_eq!(t.briefs(&reply.replies[0]), ["a=1", "b=1", "d=1"]);
    assert_eq!(t.briefs(&reply.replies[4]), ["a=2", "c=2", "d=1"]);
    let OpReply::Ranged { kvs, more: false, count: 3 } = &reply.replies[4] else { panic!("{reply:?}") };
    assert_eq!((kvs[0].mod_revision, kvs[0].version), (reply.revision, 2));
    assert_eq!(t.briefs(&reply.replies[5]), ["a=2", "c=2"]);
    assert!(matches!(&reply.replies[5], OpReply::Ranged { more: true, count: 3, .. }), "{reply:?}");
    assert_eq!(t.briefs(&reply.replies[6]), ["a=", "c=", "d="]);
    assert!(matches!(&reply.replies[6], OpReply::Ranged { more: false, count: 3, .. }), "{reply:?}");
    assert_eq!(reply.replies[7], OpReply::Ranged { kvs: vec![], more: false, count: 4 });
    assert_eq!(reply.replies[8], OpReply::Ranged { kvs: vec![], more: false, count: 0 });
}

pub(super) async fn ranges_at_a_revision(t: Fixture) {
    t.put("a", "1").await;
    let first = t.put("b", "1").await;
    t.put("a", "2").await;
    let last = t.delete("b").await;
    let at = |at| Op::Range(TxnRange { at: Some(at), ..t.within("a", "z") });
    let read = vec![put(t.key("c"), "3"), at(first), at(first + 1), at(last), Op::Range(t.within("a", "z"))];
    let reply = t.ops(read).await;
    assert_eq!(t.briefs(&reply.replies[1]), ["a=1", "b=1"]);
    assert_eq!(t.briefs(&reply.replies[2]), ["a=2", "b=1"]);
    assert_eq!(t.briefs(&reply.replies[3]), ["a=2"], "without what the transaction wrote");
    assert_eq!(t.briefs(&reply.replies[4]), ["a=2", "c=3"]);
    let now = reply.revision;
    let future = t.refusal(vec![at(now + 1)]).await;
    assert_eq!(future, StoreError::FutureRevision { requested: now + 1, current: now });
    t.store.compact(last).await.expect("compact");
    let old = t.refusal(vec![put(t.key("d"), "1"), at(last - 1)]).await;
    assert_eq!(old, StoreError::Compacted { requested: last - 1, oldest: last });
    assert_eq!(t.get("d").await, None, "nothing was changed");
    assert_eq!(t.briefs(&t.ops(vec![at(last)]).await.replies[0]), ["a=2"]);
}

pub(super) async fn branches_of_branches(t: Fixture) {
    let inner = |name: &str| Nested {
        compare: vec![Compare::absent(t.key(name))],
        success: vec![put(t.key(name), "made"), Op::Get { key: t.key(name) }],
        failure: vec![Op::Delete { key: t.key(name) }],
    };
    let deep = Nested {
        compare: vec![Compare::absent(t.key("a"))],
        success: vec![Op::Txn(Box::new(inner("b")))],
        failure: vec![Op::Txn(Box::new(inner("c"))), put(t.key("d"), "else")],
    };
    let txn = vec![Op::Txn(Box::new(inner("a"))), Op::Txn(Box::new(deep)), Op::Txn(Box::default())];
    let first = t.ops(txn.clone()).await;
    let made = |name: &str| KeyValue {
        key: t.key(name),
        value: "made".into(),
        create_revision: first.revision,
        mod_revision: first.revision,
        version: 1,
        lease: 0,
    };
    let branch = |succeeded, replies| OpReply::Txn { succeeded, replies };
    let creates = |name| branch(true, vec![OpReply::Put { previous: None }, OpReply::Got(Some(made(name)))]);
    assert_eq!(first.replies, [creates("a"), branch(true, vec![creates("b")]), branch(true, vec![])]);
    let second = t.ops(txn).await;
    assert_eq!(second.revision, first.revision + 1);
    let deletes = branch(false, vec![OpReply::Deleted { count: 1, previous: vec![] }]);
    assert_eq!(second.replies[0], deletes);
    let OpReply::Txn { succeeded: false, replies } = &second.replies[1] else { panic!("{second:?}") };
    assert!(matches!(replies[..], [OpReply::Txn { succeeded: true, .. }, OpReply::Put { previous: None }]));
    let names: Vec<String> = t.dump(ReadAt::Linearizable).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "c", "d"]);
}

/// Nested comparisons look at the state before the whole transaction, not at what it has written so far.
pub(super) async fn compares_look_before(t: Fixture) {
    t.put("a", "old").await;
    let nested = Nested {
        compare: vec![value_is(t.key("a"), "old")],
        success: vec![put(t.key("b"), "saw the old")],
        failure: vec![put(t.key("b"), "saw the new")],
    };
    let reply = t.ops(vec![put(t.key("a"), "new"), Op::Txn(Box::new(nested))]).await;
    assert!(matches!(reply.replies[1], OpReply::Txn { succeeded: true, .. }), "{reply:?}");
    assert_eq!(t.get("b").await.expect("written").value, "saw the old");
}

pub(super) async fn compare_ranges(t: Fixture) {
    let first = t.put("a", "same").await;
    t.put("b", "same").await;
    t.put("c", "other").await;
    let compare = |start: &str, end: Bytes, target, op| Compare { key: t.key(start), end: Some(end), target, op };
    let same = |start, end: &str, op| compare(start, t.key(end), CompareTarget::Value("same".into()), op);
    let created = |start, end: Bytes, op| compare(start, end, CompareTarget::CreateRevision(first), op);
    let nothing = |op| compare("x", t.key("z"), CompareTarget::Version(0), op);
    use CompareOp::{Equal, Greater, Less, NotEqual};
    for (compare, holds) in [
        (same("a", "c", Equal), true),
        (same("a", "d", Equal), false),
        (same("a", "d", NotEqual), false),
        (same("c", "d", NotEqual), true),
        (created("b", t.key("d"), Greater), true),
        (created("a", t.key("d"), Greater), false),
        (created("a", t.key("b"), Equal), true),
        (created("b", Bytes::new(), Less), false),
        (nothing(Equal), true),
        (nothing(NotEqual), false),
        (same("x", "z", Equal), false),
        (same("x", "z", NotEqual), false),
        (same("c", "a", Equal), false),
    ] {
        let reply = t.run(Txn { compare: vec![compare.clone()], ..Txn::default() }).await;
        assert_eq!(reply.succeeded, holds, "{compare:?}");
    }
}

pub(super) async fn refused_as_a_whole(t: Fixture) {
    let revision = t.put("a", "1").await;
    let lease = t.store.lease_grant(LONG).await.expect("grant");
    t.store.lease_revoke(lease).await.expect("revoke");
    let missing = Op::Put { key: t.key("b"), value: "1".into(), lease };
    let nested = |compare, success| Op::Txn(Box::new(Nested { compare, success, failure: vec![] }));
    let inside = nested(vec![], vec![nested(vec![], vec![missing.clone()])]);
    assert_eq!(t.refusal(vec![put(t.key("a"), "2"), inside]).await, StoreError::LeaseNotFound(lease));
    assert_eq!((t.now().await, t.get("a").await.expect("there").value), (revision, "1".into()));
    let not_taken = nested(vec![Compare::absent(t.key("a"))], vec![missing]);
    let reply = t.ops(vec![put(t.key("a"), "2"), not_taken]).await;
    assert_eq!(reply.revision, revision + 1, "only the branches that run matter");
    let twice = vec![put(t.key("a"), "3"), nested(vec![], vec![put(t.key("a"), "4")])];
    let refused = t.refusal(twice).await;
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
}

/// What one reply may carry is bounded, and a transaction beyond it changes nothing.
pub(super) async fn large_replies(t: Fixture) {
    const KEYS: usize = 4;
    let lease = t.store.lease_grant(LONG).await.expect("grant");
    let value = Bytes::from(vec![7; 1 << 20]);
    for name in ["a", "b", "c", "d"] {
        t.ops(vec![Op::Put { key: t.key(name), value: value.clone(), lease }]).await;
    }
    let before = t.now().await;
    let times = |n| (0..n).map(|_| Op::Range(t.within("a", "e"))).collect::<Vec<_>>();
    let fits = MAX_REPLY_BYTES / (KEYS << 20);
    let changes = vec![
        Op::Put { key: t.key("a"), value: value.clone(), lease: 0 },
        Op::Delete { key: t.key("e") },
        put(t.key("x"), ""),
        put(t.key("y"), ""),
        Op::Update { key: t.key("b"), value: None, lease: Some(0) },
    ];
    let refused = t.refusal([changes, times(fits)].concat()).await;
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
    let all = Op::DeleteRange { start: t.key("a"), end: t.key("z") };
    let success = [times(fits - 1), vec![all.clone()]].concat();
    let refused = t.store.txn(Txn { success: success.clone(), want_previous: true, ..Txn::default() }).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert_eq!((t.now().await, t.store.lease(lease).await.expect("info").keys.len()), (before, KEYS));
    let kept = t.range(RangeRequest { keys_only: true, ..t.all(ReadAt::Linearizable) }).await;
    assert_eq!((kept.count, kept.kvs[0].version), (KEYS, 1), "nothing was changed");
    let reply = t.ops(success).await;
    let deleted = OpReply::Deleted { count: KEYS, previous: vec![] };
    assert_eq!(reply.replies.last(), Some(&deleted), "without what was there it is small");
    t.store.lease_revoke(lease).await.expect("revoke");
}
