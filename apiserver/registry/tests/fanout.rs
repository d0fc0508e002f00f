//! Whom a change wakes: watches say to the cache what they are for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::Harness;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_registry::{DeleteOptions, WatchHandle, WatchItem, WatchOptions};
use serde_json::{Value, json};
use store_api::Store;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
}

type Waiting = Pin<Box<dyn Future<Output = (WatchHandle, Vec<WatchItem>)>>>;

/// One who watches, polled by hand.
struct Follower {
    waiting: Waiting,
    wakes: Arc<Wakes>,
    seen: Vec<String>,
}

impl Follower {
    async fn open(harness: &Harness, fields: &str, labels: &str) -> Self {
        let options = WatchOptions {
            field_selector: FieldSelector::parse(fields).expect("parses"),
            label_selector: Selector::parse(labels).expect("parses"),
            resource_version: Some(harness.registry.cache.revision()),
            ..WatchOptions::default()
        };
        let handle = harness.watch("v1/pods", "a", options).await;
        let mut follower = Self { waiting: Self::wait(handle), wakes: Arc::default(), seen: Vec::new() };
        follower.poll();
        follower
    }

    fn wait(mut handle: WatchHandle) -> Waiting {
        Box::pin(async move {
            let items = handle.next().await.expect("open");
            (handle, items)
        })
    }

    /// Takes what there is to see, until the watch waits again.
    fn poll(&mut self) {
        let waker = Waker::from(self.wakes.clone());
        while let Poll::Ready((handle, items)) = self.waiting.as_mut().poll(&mut Context::from_waker(&waker)) {
            for item in items {
                if let WatchItem::Added(object) | WatchItem::Modified(object) | WatchItem::Deleted(object) = item {
                    self.seen.push(object.key.name.to_string());
                }
            }
            self.waiting = Self::wait(handle);
        }
    }
}

async fn settle(harness: &Harness) {
    let shown = harness.registry.cache.wait_for(harness.store.applied_revision(), Duration::from_secs(5));
    shown.await.expect("shown");
}

#[tokio::test]
async fn a_watch_sleeps_while_others_are_written() {
    let harness = Harness::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    harness.create("v1/namespaces", "", namespace).await.expect("made");
    for (fields, labels, concerned, seen) in [
        ("spec.nodeName=n3", "", 1, vec!["p3"]),
        ("metadata.name=p4", "", 1, vec!["p4"]),
        ("metadata.name=p4,spec.nodeName=n3", "", 1, vec![]),
        ("spec.nodeName=n5", "app=p6", 1, vec![]),
        ("spec.nodeName=n99", "", 0, vec![]),
        ("", "app=p6", 10, vec!["p6"]),
        ("spec.nodeName!=n1,metadata.name!=p2", "app in (p1,p2,p7)", 10, vec!["p7"]),
    ] {
        let mut follower = Follower::open(&harness, fields, labels).await;
        for index in 0..10 {
            harness.create("v1/pods", "a/", pod(&format!("p{index}"), &format!("n{index}"))).await.expect("made");
            settle(&harness).await;
            if follower.wakes.0.load(Ordering::Relaxed) > 0 {
                follower.poll();
            }
        }
        assert_eq!(follower.wakes.0.load(Ordering::Relaxed), concerned, "{fields} {labels}");
        assert_eq!(follower.seen, seen, "{fields} {labels}");
        drop(follower);
        for index in 0..10 {
            let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
            harness.delete("v1/pods", &format!("a/p{index}"), options).await.expect("deleted");
        }
        settle(&harness).await;
    }
}
