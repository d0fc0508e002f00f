//! Many who write one object at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Harness, refusal, target};
use api_admission::{Attributes, Chain, Operation, Plugin, View};
use api_codec::patch::PatchKind;
use api_machinery::{ApiError, Value};
use api_registry::{Body, DeleteOptions, RequestInfo};
use async_trait::async_trait;
use serde_json::json;
use store_api::mem::MemStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MAPS: &str = "v1/configmaps";
const WRITERS: usize = 40;
/// How long one try takes: so that all who try at the same time start from the same version.
const TRY: Duration = Duration::from_millis(10);

/// Counts tries, each of which takes a while.
struct Slow(Arc<AtomicUsize>);

#[async_trait]
impl Plugin for Slow {
    fn name(&self) -> &'static str {
        "Slow"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        if attributes.operation != Operation::Create {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(TRY).await;
        }
        Ok(())
    }
}

async fn harness() -> (Arc<Harness>, Arc<AtomicUsize>) {
    let tries = Arc::new(AtomicUsize::new(0));
    let mut chain = Chain::of(Vec::new());
    chain.push(Box::new(Slow(tries.clone())));
    let h = Arc::new(Harness::with(MemStore::new(), chain).await);
    h.create(MAPS, "default/", json!({"metadata": {"name": "x"}})).await.expect("created");
    (h, tries)
}

fn patch(index: usize) -> Value {
    json!({"data": {format!("k{index}"): "1"}})
}

/// All at the same time; what each is told.
fn write_all(h: &Arc<Harness>) -> Vec<JoinHandle<String>> {
    let writer = |index| {
        let h = h.clone();
        tokio::spawn(async move { refusal(h.merge(MAPS, "default/x", patch(index)).await) })
    };
    (0..WRITERS).map(writer).collect()
}

/// Each loses once at most: against all others it would be as often as there are others, and half as many tries as the
/// square of their number.
#[tokio::test(start_paused = true)]
async fn who_loses_waits_for_its_turn() {
    let (h, tries) = harness().await;
    for writer in write_all(&h) {
        assert_eq!(writer.await.expect("no panic"), "ok");
    }
    let object = h.get(MAPS, "default/x").await.expect("there");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(WRITERS));
    let tries = tries.load(Ordering::SeqCst);
    assert!((WRITERS + 1..2 * WRITERS).contains(&tries), "{tries} tries of {WRITERS} writers");
}

/// It would win before it is the turn of who came first, again and again.
#[tokio::test(start_paused = true)]
async fn who_comes_while_others_wait_joins_them() {
    let (h, tries) = harness().await;
    let write = |index, after: u32| {
        let h = h.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TRY * after).await;
            let outcome = refusal(h.merge(MAPS, "default/x", patch(index)).await);
            (outcome, tokio::time::Instant::now())
        })
    };
    let early: Vec<_> = (0..WRITERS).map(|index| write(index, 0)).collect();
    let late = write(WRITERS, 3);
    let mut last = tokio::time::Instant::now();
    for writer in early {
        let (outcome, at) = writer.await.expect("no panic");
        assert_eq!(outcome, "ok");
        last = last.max(at);
    }
    let (outcome, at) = late.await.expect("no panic");
    assert!(outcome == "ok" && at >= last, "{outcome}");
    assert!(tries.load(Ordering::SeqCst) <= 2 * WRITERS);
}

#[tokio::test(start_paused = true)]
async fn who_names_a_version_is_told_at_once_that_it_is_gone() {
    let (h, _) = harness().await;
    let object = h.get(MAPS, "default/x").await.expect("there");
    let writers = write_all(&h);
    tokio::time::sleep(TRY * 3).await;
    let asked = tokio::time::Instant::now();
    let refused = refusal(h.update(MAPS, "default/x", object.as_ref().clone()).await);
    assert!(refused.starts_with("409 Conflict"), "{refused}");
    assert!(asked.elapsed() <= TRY * 2, "{:?}", asked.elapsed());
    for writer in writers {
        assert_eq!(writer.await.expect("no panic"), "ok");
    }
}

#[tokio::test(start_paused = true)]
async fn whose_client_is_gone_is_not_tried_again() {
    let (h, tries) = harness().await;
    let gone = CancellationToken::new();
    let writers = (0..WRITERS).map(|index| {
        let (h, gone) = (h.clone(), gone.clone());
        let info = RequestInfo { gone: Some(gone), ..Harness::info() };
        tokio::spawn(async move {
            let target = target(MAPS, "default/x");
            refusal(h.registry.patch(&info, &target, PatchKind::Merge, Body::Value(patch(index))).await)
        })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(TRY / 2).await;
    gone.cancel();
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for writer in writers {
        *outcomes.entry(writer.await.expect("no panic")).or_default() += 1;
    }
    let left = "504 Timeout: Timeout: request did not complete within requested timeout - context canceled";
    assert_eq!(outcomes, [(left.to_owned(), WRITERS - 1), ("ok".to_owned(), 1)].into());
    assert_eq!(tries.load(Ordering::SeqCst), WRITERS);
    // And nobody has its turn for ever.
    h.delete(MAPS, "default/x", DeleteOptions::default()).await.expect("deleted");
}
