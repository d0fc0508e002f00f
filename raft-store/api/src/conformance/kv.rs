//! Single keys and ranges of them.

use bytes::Bytes;

use super::Fixture;
use crate::*;

pub(super) async fn put_get_delete(t: Fixture) {
    assert_eq!(t.get("a").await, None);
    let start = t.now().await;
    let first = t.put("a", "1").await;
    assert_eq!(first, start + 1, "a write takes the next revision");
    let kv = t.get("a").await.expect("written");
    let expected = KeyValue {
        key: t.key("a"),
        value: Bytes::from("1"),
        create_revision: first,
        mod_revision: first,
        version: 1,
        lease: 0,
    };
    assert_eq!(kv, expected);

    let reply = t.run(Txn { want_previous: true, ..Txn::put(t.key("a"), "2") }).await;
    assert_eq!(reply.revision, first + 1);
    assert_eq!(reply.replies, [OpReply::Put { previous: Some(kv) }]);
    let second = t.get("a").await.expect("written");
    assert_eq!((second.create_revision, second.mod_revision, second.version), (first, first + 1, 2));

    let reply = t.run(Txn { want_previous: true, ..Txn::delete(t.key("a")) }).await;
    let deleted = OpReply::Deleted { count: 1, previous: vec![second] };
    assert_eq!((reply.revision, reply.replies), (first + 2, vec![deleted]));
    assert_eq!(t.get("a").await, None);
    let absent = t.store.get(&t.key("a"), ReadAt::Linearizable).await.expect("get");
    assert_eq!(absent.revision, first + 2);

    let again = t.put("a", "3").await;
    let kv = t.get("a").await.expect("written");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1), "a new life counts from 1");
}

/// Keys are bytes: zeros, 0xff and keys that begin with other keys order as bytes do and stay apart.
pub(super) async fn arbitrary_keys(t: Fixture) {
    let tails: Vec<&[u8]> = vec![
        b"",
        b"\0",
        b"\0\0",
        b"\0\x01",
        b"\0\xff",
        b"\x01",
        b"a",
        b"a\0",
        b"a\0b",
        b"a\x01",
        b"ab",
        b"\xff",
        b"\xff\xff",
    ];
    let key = |tail: &[u8]| Bytes::from([t.prefix.as_bytes(), tail].concat());
    for (n, tail) in tails.iter().enumerate().rev() {
        t.run(Txn::put(key(tail), n.to_string())).await;
        t.run(Txn::put(key(tail), format!("{n} again"))).await;
    }
    let mut sorted = tails.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, tails);
    let found = t.range(t.all(ReadAt::Linearizable)).await;
    let keys: Vec<Bytes> = found.kvs.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!(keys, tails.iter().map(|tail| key(tail)).collect::<Vec<_>>());
    for (n, tail) in tails.iter().enumerate() {
        let kv = t.store.get(&key(tail), ReadAt::Linearizable).await.expect("get").kv.expect("written");
        assert_eq!((kv.version, kv.value), (2, Bytes::from(format!("{n} again"))));
    }
    t.run(Txn::delete(key(b"a"))).await;
    let after = t.range(t.all(ReadAt::Linearizable)).await.count;
    assert_eq!(after, tails.len() - 1, "deleting a key leaves those that begin with it");
}

pub(super) async fn ranges(t: Fixture) {
    for name in ["b", "a", "d", "c", "e"] {
        t.put(name, &name.to_uppercase()).await;
    }
    let revision = t.delete("d").await;
    let request = RangeRequest { start: t.key("b"), end: t.key("e"), ..t.all(ReadAt::Linearizable) };
    let reply = t.range(request.clone()).await;
    let names: Vec<String> = reply.kvs.iter().map(|kv| t.name(&kv.key)).collect();
    assert_eq!((names, reply.more, reply.count, reply.revision), (vec!["b".into(), "c".into()], false, 2, revision));

    let reply = t.range(RangeRequest { limit: 1, ..request.clone() }).await;
    assert_eq!((reply.kvs.len(), reply.more, reply.count), (1, true, 2));
    let reply = t.range(RangeRequest { limit: 2, ..request.clone() }).await;
    assert_eq!((reply.kvs.len(), reply.more, reply.count), (2, false, 2));
    let reply = t.range(RangeRequest { limit: 1, count: false, ..request.clone() }).await;
    assert_eq!((reply.kvs.len(), reply.more, reply.count), (1, true, 1), "what was not to be counted");
    let reply = t.range(RangeRequest { limit: 2, count: false, ..request.clone() }).await;
    assert_eq!((reply.kvs.len(), reply.more, reply.count), (2, false, 2));

    let reply = t.range(RangeRequest { count_only: true, limit: 1, ..request.clone() }).await;
    assert_eq!((reply.kvs, reply.more, reply.count, reply.revision), (vec![], false, 2, revision));
    let before = RangeRequest { count_only: true, at: ReadAt::Revision(revision - 1), ..request.clone() };
    assert_eq!(t.range(before).await.count, 3);
    let reply = t.range(RangeRequest { keys_only: true, ..request }).await;
    assert!(reply.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0 && kv.version == 1), "{reply:?}");

    let removed = Op::DeleteRange { start: t.key("a"), end: t.key("c") };
    let reply = t.run(Txn { success: vec![removed], want_previous: true, ..Txn::default() }).await;
    let [OpReply::Deleted { count: 2, previous }] = &reply.replies[..] else { panic!("{reply:?}") };
    let values: Vec<Bytes> = previous.iter().map(|kv| kv.value.clone()).collect();
    assert_eq!((values, reply.revision), (vec![Bytes::from("A"), Bytes::from("B")], revision + 1));
    assert_eq!(t.dump(ReadAt::Linearizable).await, [("c".into(), "C".into()), ("e".into(), "E".into())]);
}

pub(super) async fn range_edges(t: Fixture) {
    t.put("a", "1").await;
    t.put("b", "2").await;
    let all = t.all(ReadAt::Linearizable);
    let to_the_end = t.range(RangeRequest { end: Bytes::new(), start: t.key("b"), ..all.clone() }).await;
    assert_eq!(to_the_end.kvs.first().map(|kv| kv.key.clone()), Some(t.key("b")));
    for (start, end) in [("b", "a"), ("b", "b"), ("c", "d")] {
        let (start, end) = (t.key(start), t.key(end));
        let reply = t.range(RangeRequest { start: start.clone(), end: end.clone(), ..all.clone() }).await;
        assert_eq!((reply.kvs, reply.count, reply.more), (vec![], 0, false), "{start:?} to {end:?}");
        let before = t.now().await;
        let reply = t.run(Txn { success: vec![Op::DeleteRange { start, end }], ..Txn::default() }).await;
        let nothing = OpReply::Deleted { count: 0, previous: vec![] };
        assert_eq!((reply.replies, reply.revision), (vec![nothing], before));
    }
    assert_eq!(t.dump(ReadAt::Local).await.len(), 2);
}

pub(super) async fn large_value(t: Fixture) {
    let value: Bytes = (0..1_500_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
    t.run(Txn::put(t.key("large"), value.clone())).await;
    assert_eq!(t.get("large").await.expect("written").value, value);
    t.put("large", "").await;
    assert_eq!(t.get("large").await.expect("an empty value is a value").value, Bytes::new());
}

pub(super) async fn status(t: Fixture) {
    let before = t.store.status();
    let revision = t.put("a", "1").await;
    let after = t.store.status();
    assert!(after.revision >= revision && t.store.applied_revision() >= revision, "{after:?}");
    assert!(after.leader.is_some() && !after.cluster_id.is_empty() && !after.members.is_empty(), "{after:?}");
    assert_ne!(before.state_hash, after.state_hash, "the hash rolls with every revision");
}
