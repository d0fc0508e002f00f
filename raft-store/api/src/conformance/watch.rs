//! Watches: ordered, whole, resumable, and never silently incomplete.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{Fixture, brief};
use crate::*;

fn put(key: Bytes, value: &'static str) -> Op {
    Op::Put { key, value: Bytes::from(value), lease: 0 }
}

pub(super) async fn ordered_and_atomic(t: Fixture) {
    let start = t.now().await;
    let mut watch = t.watch(start + 1).await;
    t.put("z", "1").await;
    let success = vec![put(t.key("y"), "2"), Op::Delete { key: t.key("z") }, put(t.key("x"), "2")];
    t.run(Txn { success, ..Txn::default() }).await;
    let end = t.put("z", "3").await;
    let events = watch.until(end).await;
    let briefs: Vec<String> = events.iter().map(|e| brief(&t, e)).collect();
    assert_eq!(briefs, ["put z=1", "put y=2", "del z", "put x=2", "put z=3"]);
    let revisions: Vec<Revision> = events.iter().map(|e| e.kv().mod_revision - start).collect();
    assert_eq!(revisions, [1, 2, 2, 2, 3]);
}

/// A watch from any revision, opened at any time, delivers the same rest.
pub(super) async fn resumes_anywhere(t: Fixture) {
    let start = t.now().await;
    for n in 0..30u32 {
        match n % 5 {
            4 => t.delete(&format!("k{}", n % 3)).await,
            _ => t.put(&format!("k{}", n % 3), &n.to_string()).await,
        };
    }
    let end = t.now().await;
    let whole = t.watch(start + 1).await.until(end).await;
    for from in start + 1..=end {
        let rest = t.watch(from).await.until(end).await;
        let expected: Vec<Event> = whole.iter().filter(|e| e.kv().mod_revision >= from).cloned().collect();
        assert_eq!(rest, expected, "from {from}");
    }
}

pub(super) async fn from_now(t: Fixture) {
    t.put("before", "1").await;
    t.now().await;
    let mut watch = t.watch(0).await;
    let revision = t.put("after", "1").await;
    let events = watch.until(revision).await;
    assert_eq!(events.iter().map(|e| brief(&t, e)).collect::<Vec<_>>(), ["put after=1"]);
}

pub(super) async fn from_the_future(t: Fixture) {
    let start = t.now().await;
    let mut watch = t.watch(start + 3).await;
    for n in 1..=4 {
        t.put("a", &n.to_string()).await;
    }
    // The watcher's own check refuses progress or events below where it began.
    let events = watch.until(start + 4).await;
    assert_eq!(events.iter().map(|e| brief(&t, e)).collect::<Vec<_>>(), ["put a=3", "put a=4"]);
}

pub(super) async fn ranges_of_keys(t: Fixture) {
    let from = t.now().await + 1;
    let only = |name: &str| (t.key(name), Bytes::from([t.key(name).as_ref(), b"\0"].concat()));
    let cases = [
        (only("b"), vec!["put b=1"]),
        ((t.key("b"), t.key("d")), vec!["put b=1", "put bb=1", "put c=1"]),
        ((t.key("c"), Bytes::new()), vec!["put c=1", "put d=1"]),
        ((t.key("c"), t.key("b")), vec![]),
        ((t.key("e"), t.key("f")), vec![]),
    ];
    let mut open = Vec::new();
    for ((start, end), _) in &cases {
        open.push(t.watch_range(start.clone(), end.clone(), from).await);
    }
    for name in ["a", "b", "bb", "c", "d"] {
        t.put(name, "1").await;
    }
    let last = t.now().await;
    for (((start, end), expected), early) in cases.iter().zip(open) {
        let late = t.watch_range(start.clone(), end.clone(), from).await;
        for mut watch in [early, late] {
            let mut events = Vec::new();
            // Without matching events a watch may say nothing for a while, or report progress.
            while events.len() < expected.len() {
                events.extend(watch.batch().await.expect("watch").events);
            }
            assert!(watch.reached <= last);
            assert_eq!(&events.iter().map(|e| brief(&t, e)).collect::<Vec<_>>(), expected);
        }
    }
}

pub(super) async fn previous_values(t: Fixture) {
    let from = t.now().await + 1;
    t.put("a", "1").await;
    let first = t.get("a").await.expect("written");
    t.put("a", "2").await;
    let second = t.get("a").await.expect("written");
    let deleted = t.delete("a").await;
    t.put("a", "3").await;
    let third = t.get("a").await.expect("written");
    let tombstone = KeyValue {
        key: t.key("a"),
        value: Bytes::new(),
        create_revision: 0,
        mod_revision: deleted,
        version: 0,
        lease: 0,
    };
    let expected = [
        Event::Put { kv: first.clone(), previous: None },
        Event::Put { kv: second.clone(), previous: Some(first) },
        Event::Delete { kv: tombstone, previous: second },
        Event::Put { kv: third, previous: None },
    ];
    assert_eq!(t.watch(from).await.events(4).await, expected);
}

pub(super) async fn compacted(t: Fixture) {
    let from = t.put("a", "1").await;
    let mut behind = t.watch(from).await;
    t.put("a", "2").await;
    let mark = t.put("a", "3").await;
    let end = t.put("a", "4").await;
    t.store.compact(mark).await.expect("compact");
    for wanted in [from, mark - 1] {
        let error = t.watch_error(wanted).await;
        assert_eq!(error, Some(StoreError::Compacted { requested: wanted, oldest: mark }));
    }
    let rest = t.watch(mark).await.until(end).await;
    let values: Vec<_> = rest
        .iter()
        .map(|event| match event {
            Event::Put { kv, previous: Some(previous) } => (kv.value.as_ref(), previous.value.as_ref()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, [(&b"3"[..], &b"2"[..]), (b"4", b"3")], "the events of the mark are kept");
    // A watch that was open is either complete or says that it is not.
    let mut got = Vec::new();
    while behind.reached < end {
        match behind.batch().await {
            Ok(batch) => got.extend(batch.events),
            Err(StoreError::Compacted { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(got.len(), 4);
}

/// More than fits a batch: large revisions stay whole, and the stream goes on where it stopped.
pub(super) async fn many_events(t: Fixture) {
    let from = t.now().await + 1;
    for round in 0..6 {
        let success = (0..1500).map(|n| put(t.key(&format!("{round}/{n:04}")), "v")).collect();
        t.run(Txn { success, ..Txn::default() }).await;
    }
    let end = t.now().await;
    let events = t.watch(from).await.until(end).await;
    let keys: Vec<String> = events.iter().map(|e| t.name(&e.kv().key)).collect();
    let expected: Vec<String> = (0..6).flat_map(|r| (0..1500).map(move |n| format!("{r}/{n:04}"))).collect();
    assert!(keys == expected, "{} events of {}", keys.len(), expected.len());
}

/// Writers race; watchers that stay, that come late and that reconnect all see one and the same history.
pub(super) async fn concurrent_writers(t: Fixture) {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let t = Arc::new(t);
    let start = t.now().await;
    let last = start + (WRITERS * EACH) as u64;
    let watchers = [usize::MAX, 1, 3].map(|batches| tokio::spawn(reconnecting(t.clone(), start + 1, last, batches)));
    let writers = (0..WRITERS).map(|writer| {
        let t = t.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let success = vec![
                    Op::Put { key: t.key(&format!("own/{writer}")), value: n.to_string().into(), lease: 0 },
                    Op::Put {
                        key: t.key(&format!("shared/{}", n % 7)),
                        value: format!("{writer}:{n}").into(),
                        lease: 0,
                    },
                ];
                t.run(Txn { success, ..Txn::default() }).await;
            }
        })
    });
    for writer in join_all(writers).await {
        writer.expect("writer");
    }
    let late = t.watch(start + 1).await.until(last).await;
    assert_eq!(late.len(), WRITERS * EACH * 2);
    for watcher in join_all(watchers).await {
        let seen = watcher.expect("watcher");
        assert!(seen == late, "{} events instead of {}", seen.len(), late.len());
    }
    let mut replay = BTreeMap::new();
    for event in &late {
        let Event::Put { kv, previous } = event else { panic!("{event:?}") };
        assert_eq!(replay.insert(kv.key.clone(), kv.clone()), *previous, "each event follows the one before");
    }
    let listed = t.range(t.all(ReadAt::Linearizable)).await.kvs;
    assert_eq!(listed, replay.into_values().collect::<Vec<_>>(), "the events lead to the state");
}

/// Follows the history to `last`, opening the watch anew after so many batches.
async fn reconnecting(t: Arc<Fixture>, from: Revision, last: Revision, batches: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= last {
        let mut watch = t.watch(next).await;
        for _ in 0..batches {
            if watch.reached >= last {
                break;
            }
            events.extend(watch.batch().await.expect("watch").events);
        }
        next = watch.reached + 1;
    }
    events
}

/// Giving up to wait for the next batch, also while it comes, loses no event and repeats none.
pub(super) async fn waiting_may_be_given_up(t: Fixture) {
    const WRITES: u64 = 50;
    let t = Arc::new(t);
    let start = t.now().await;
    let mut watch = t.watch(start + 1).await;
    let writer = tokio::spawn({
        let t = t.clone();
        async move {
            for n in 0..WRITES {
                t.put("a", &n.to_string()).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let (mut values, mut given_up) = (Vec::new(), 0);
    while watch.reached < start + WRITES {
        let pause = std::time::Duration::from_micros(given_up % 7 * 100);
        match tokio::time::timeout(pause, watch.stream.next()).await {
            Err(_) => given_up += 1,
            Ok(batch) => {
                let batch = batch.expect("watch");
                watch.reached = batch.revision;
                values.extend(batch.events.iter().map(|event| super::text(&event.kv().value)));
            }
        }
    }
    writer.await.expect("writer");
    assert_eq!(values, (0..WRITES).map(|n| n.to_string()).collect::<Vec<_>>());
}
