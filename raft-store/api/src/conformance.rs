//! The conformance suite every implementation of [`crate::Store`] passes.
//!
//! An implementation's test is `conformance::run(factory).await`, where the factory makes a store for
//! each check. It may be the same store every time (checks use keys of their own and revisions relative
//! to where they begin), but nothing else may write to it meanwhile. Handing out a different replica of
//! one cluster on every call, or a store that sends each call to another replica, is a good test too.
//! Checks panic with the reason; the name of the running check is printed first.

mod history;
mod kv;
mod lease;
mod nested;
mod txn;
mod watch;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::*;

/// How long a check waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// One check: a name and what it does with a store.
pub struct Check {
    pub name: &'static str,
    run: fn(Fixture) -> BoxFuture<'static, ()>,
}

impl Check {
    pub async fn run(&self, store: DynStore) {
        (self.run)(Fixture::new(store)).await;
    }
}

/// Runs every check on a store of the factory's.
pub async fn run<F, S>(factory: F)
where
    F: Fn() -> S,
    S: Future<Output = DynStore>,
{
    for check in checks() {
        println!("conformance: {}", check.name);
        check.run(factory().await).await;
    }
}

macro_rules! checks {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($(Check {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |fixture| Box::pin($module::$name(fixture)),
        }),+),+]
    };
}

/// All checks, in the order [`run`] runs them.
pub fn checks() -> Vec<Check> {
    checks! {
        kv: put_get_delete, arbitrary_keys, ranges, range_edges, large_value, status;
        txn: branches, compare_table, operations_in_order, one_revision, no_change_no_revision, invalid,
            fenced, retried, retried_concurrently, contended_counter;
        nested: previous_on_request, updates, ranges_inside, ranges_at_a_revision, branches_of_branches,
            compares_look_before, compare_ranges, refused_as_a_whole, large_replies;
        history: reads_at_every_revision, future_revision, compaction, compaction_of_deleted;
        watch: ordered_and_atomic, resumes_anywhere, from_now, from_the_future, ranges_of_keys, previous_values,
            compacted, many_events, concurrent_writers, waiting_may_be_given_up;
        lease: revoke_deletes_in_one_revision, attachment_moves, expires, renewed_lives_on, unknown_lease, chosen_ids, info_and_list,
            time_runs_and_renewing_resets_it;
    }
}

/// A store and keys that no other check uses.
struct Fixture {
    store: DynStore,
    prefix: String,
}

impl Fixture {
    fn new(store: DynStore) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("conformance/{}/", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { store, prefix }
    }

    fn key(&self, name: &str) -> Bytes {
        Bytes::from(format!("{}{name}", self.prefix))
    }

    /// Everything of this check.
    fn all(&self, at: ReadAt) -> RangeRequest {
        RangeRequest::prefix(self.prefix.as_bytes(), at)
    }

    /// A request that no other check makes.
    fn request(&self, seq: u64) -> Option<RequestId> {
        let client = u128::from_be_bytes(*b"conformance-test") ^ (u128::from(std::process::id()) << 64);
        let check = self.prefix.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
        Some(RequestId { client: client ^ u128::from(check), seq })
    }

    async fn run(&self, txn: Txn) -> TxnReply {
        self.store.txn(txn).await.expect("transaction")
    }

    async fn put(&self, name: &str, value: &str) -> Revision {
        self.run(Txn::put(self.key(name), Bytes::copy_from_slice(value.as_bytes()))).await.revision
    }

    async fn delete(&self, name: &str) -> Revision {
        self.run(Txn::delete(self.key(name))).await.revision
    }

    async fn get(&self, name: &str) -> Option<KeyValue> {
        self.get_at(name, ReadAt::Linearizable).await
    }

    async fn get_at(&self, name: &str, at: ReadAt) -> Option<KeyValue> {
        self.store.get(&self.key(name), at).await.expect("get").kv
    }

    async fn range(&self, request: RangeRequest) -> RangeReply {
        self.store.range(request).await.expect("range")
    }

    /// Names and values at a revision, as text.
    async fn dump(&self, at: ReadAt) -> Vec<(String, String)> {
        let kvs = self.range(self.all(at)).await.kvs;
        kvs.iter().map(|kv| (self.name(&kv.key), text(&kv.value))).collect()
    }

    fn name(&self, key: &[u8]) -> String {
        text(key.strip_prefix(self.prefix.as_bytes()).expect("a key of this check"))
    }

    /// The newest revision anywhere.
    async fn now(&self) -> Revision {
        self.store.read_barrier().await.expect("read barrier")
    }

    async fn watch(&self, from: Revision) -> Watcher {
        let RangeRequest { start, end, .. } = self.all(ReadAt::Local);
        self.watch_range(start, end, from).await
    }

    async fn watch_range(&self, start: Bytes, end: Bytes, from: Revision) -> Watcher {
        let stream = self.store.watch(WatchRequest { start, end, from }).await.expect("watch");
        Watcher { stream, reached: from.saturating_sub(1) }
    }

    /// The error of opening a watch, or of its first batch.
    async fn watch_error(&self, from: Revision) -> Option<StoreError> {
        let RangeRequest { start, end, .. } = self.all(ReadAt::Local);
        match self.store.watch(WatchRequest { start, end, from }).await {
            Err(error) => Some(error),
            Ok(mut stream) => patiently(stream.next()).await.err(),
        }
    }
}

/// A watch whose every batch is checked against what batches promise.
struct Watcher {
    stream: Box<dyn WatchStream>,
    reached: Revision,
}

impl Watcher {
    /// The next batch, which may be a progress mark.
    async fn batch(&mut self) -> Result<WatchBatch, StoreError> {
        let batch = patiently(self.stream.next()).await?;
        assert!(batch.revision > self.reached || batch.events.is_empty(), "{batch:?} after {}", self.reached);
        let mut last = self.reached;
        for event in &batch.events {
            let revision = event.kv().mod_revision;
            assert!(revision > self.reached, "{event:?} of a revision delivered before, {}", self.reached);
            assert!(revision >= last && revision <= batch.revision, "{event:?} out of order in {batch:?}");
            last = revision;
        }
        assert!(batch.revision >= self.reached, "progress went back from {} to {}", self.reached, batch.revision);
        self.reached = batch.revision;
        Ok(batch)
    }

    /// At least `count` events, gathered over as many batches as it takes.
    async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.batch().await.expect("watch").events);
        }
        assert_eq!(events.len(), count, "more events than were written: {events:?}");
        events
    }

    /// Events of whole revisions until `revision` is reached, by events or progress.
    async fn until(&mut self, revision: Revision) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while self.reached < revision {
            events.extend(self.batch().await.expect("watch").events);
        }
        events
    }
}

/// What `name` must be now: `put NAME=VALUE`, `del NAME`.
fn brief(fixture: &Fixture, event: &Event) -> String {
    match event {
        Event::Put { kv, .. } => format!("put {}={}", fixture.name(&kv.key), text(&kv.value)),
        Event::Delete { kv, .. } => format!("del {}", fixture.name(&kv.key)),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened in time")
}
