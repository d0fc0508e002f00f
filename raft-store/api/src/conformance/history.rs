//! Reads at a revision, and compaction.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Fixture;
use crate::*;

pub(super) async fn reads_at_every_revision(t: Fixture) {
    let start = t.now().await;
    let mut model = BTreeMap::new();
    let mut states = vec![model.clone()];
    for n in 0..40u32 {
        let name = format!("k{}", n * 7 % 5);
        if n % 4 == 3 && model.contains_key(&name) {
            t.delete(&name).await;
            model.remove(&name);
        } else {
            let value = n.to_string();
            t.put(&name, &value).await;
            model.insert(name, value);
        }
        states.push(model.clone());
    }
    for (revision, state) in (start..).zip(&states) {
        let at = ReadAt::Revision(revision);
        let expected: Vec<_> = state.clone().into_iter().collect();
        assert_eq!(t.dump(at).await, expected, "at {revision}");
        for name in ["k0", "k1", "k2", "k3", "k4"] {
            let reply = t.store.get(&t.key(name), at).await.expect("get");
            let value = reply.kv.map(|kv| super::text(&kv.value));
            assert_eq!((value.as_ref(), reply.revision), (state.get(name), revision), "{name} at {revision}");
        }
        let limited = t.range(RangeRequest { limit: 2, ..t.all(at) }).await;
        assert_eq!((limited.count, limited.more, limited.revision), (state.len(), state.len() > 2, revision));
    }
}

pub(super) async fn future_revision(t: Fixture) {
    let now = t.put("a", "1").await;
    let early = t.store.wait_applied(now + 1, Duration::from_millis(30)).await;
    assert!(matches!(early, Err(StoreError::FutureRevision { requested, .. }) if requested == now + 1), "{early:?}");
    let at = ReadAt::Revision(now + 1);
    let (read, listed, waited, written) =
        tokio::join!(t.get_at("a", at), t.dump(at), t.store.wait_applied(now + 1, super::PATIENCE), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            t.put("a", "2").await
        },);
    assert_eq!((written, waited), (now + 1, Ok(())));
    assert_eq!((read.expect("written").value.as_ref(), listed.len()), (&b"2"[..], 1));
}

pub(super) async fn compaction(t: Fixture) {
    t.put("a", "1").await;
    t.put("b", "1").await;
    let mark = t.put("a", "2").await;
    t.put("a", "3").await;
    let head = t.put("c", "1").await;
    let future = t.store.compact(head + 10).await;
    assert!(matches!(future, Err(StoreError::FutureRevision { .. })), "{future:?}");
    t.store.compact(mark).await.expect("compact");
    assert_eq!(t.now().await, head, "compaction takes no revision");

    let below = ReadAt::Revision(mark - 1);
    let error = StoreError::Compacted { requested: mark - 1, oldest: mark };
    assert_eq!(t.store.get(&t.key("b"), below).await, Err(error.clone()));
    assert_eq!(t.store.range(t.all(below)).await, Err(error));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(t.dump(ReadAt::Revision(mark)).await, [pair("a", "2"), pair("b", "1")]);
    assert_eq!(t.dump(ReadAt::Revision(mark + 1)).await, [pair("a", "3"), pair("b", "1")]);
    let newest = [pair("a", "3"), pair("b", "1"), pair("c", "1")];
    assert_eq!(t.dump(ReadAt::Linearizable).await, newest);

    for again in [mark, mark - 1] {
        let refused = t.store.compact(again).await;
        assert_eq!(refused, Err(StoreError::Compacted { requested: again, oldest: mark }));
    }
    t.store.compact(head).await.expect("compact");
    assert_eq!(t.dump(ReadAt::Revision(head)).await, newest);
    assert_eq!(t.get("a").await.expect("kept").version, 3, "versions count on");
}

/// A key that was deleted at or before the mark is gone, and one deleted after it is still seen at the mark.
pub(super) async fn compaction_of_deleted(t: Fixture) {
    t.put("early", "1").await;
    t.put("late", "1").await;
    t.put("back", "1").await;
    t.delete("back").await;
    let mark = t.delete("early").await;
    t.put("back", "2").await;
    let late = t.delete("late").await;
    t.store.compact(mark).await.expect("compact");
    assert_eq!(t.dump(ReadAt::Revision(mark)).await, [("late".into(), "1".into())]);
    assert_eq!(t.dump(ReadAt::Revision(late)).await, [("back".into(), "2".into())]);
    let mut watch = t.watch(mark).await;
    let events: Vec<String> = watch.events(3).await.iter().map(|e| super::brief(&t, e)).collect();
    assert_eq!(events, ["del early", "put back=2", "del late"]);
    t.store.compact(late).await.expect("compact");
    assert_eq!(t.dump(ReadAt::Revision(late)).await, [("back".into(), "2".into())]);
    assert_eq!(t.get("back").await.expect("kept").version, 1);
}
