//! A registry over an in-memory store, and short words for its verbs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api_admission::Chain;
use api_cache::{Cache, CacheConfig, Object};
use api_codec::patch::PatchKind;
use api_machinery::{ApiError, Value};
use api_registry::{
    Body, Clock, DeleteOptions, List, ListOptions, Registry, RegistryConfig, RequestInfo, Target, WatchHandle,
    WatchItem, WatchOptions, Written,
};
use api_schema::{Resource, Schema};
use jiff::Timestamp;
use store_api::mem::MemStore;

/// A clock that stands still until it is set.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).expect("a time")
    }
}

pub(crate) struct Harness {
    pub(crate) store: MemStore,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<TestClock>,
    _keys: tempfile::TempDir,
}

pub(crate) fn resource(path: &str) -> &'static Resource {
    let mut parts = path.split('/');
    let (first, second, third) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next());
    let found = match third {
        Some(plural) => Schema::builtin().resource(first, second, plural),
        None => Schema::builtin().resource("", first, second),
    };
    found.unwrap_or_else(|| panic!("{path} is not served"))
}

/// `v1/pods`, `apps/v1/deployments`; `namespace/name#subresource`, all parts may be empty.
pub(crate) fn target<'a>(path: &str, place: &'a str) -> Target<'a> {
    let (place, subresource) = place.split_once('#').unwrap_or((place, ""));
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    Target { resource: resource(path), namespace, name, subresource }
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::over(MemStore::new()).await
    }

    /// With the plugins that are on by default.
    pub(crate) async fn admitting() -> Self {
        Self::with(MemStore::new(), Chain::standard()).await
    }

    pub(crate) async fn over(store: MemStore) -> Self {
        Self::with(store, Chain::of(Vec::new())).await
    }

    pub(crate) async fn with(store: MemStore, admission: Chain) -> Self {
        let keys = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000)));
        let audiences = vec!["https://kubernetes.default.svc.cluster.local".to_owned()];
        let issuer = audiences[0].clone();
        let tokens = pki::tokens::TokenIssuer::load_or_create(keys.path(), &issuer, audiences).expect("keys");
        let config = RegistryConfig {
            service_cidr: "10.96.0.0/16".to_owned(),
            node_ports: 30000..=32767,
            allow_privileged: true,
            clock: clock.clone(),
            tokens: Arc::new(tokens),
        };
        let dynamic = store.clone().into_dyn();
        let cache = Cache::start(dynamic.clone(), CacheConfig::default()).await.expect("a cache");
        let registry = Registry::new(Schema::builtin(), dynamic, cache, admission, config);
        Self { store, registry, clock, _keys: keys }
    }

    pub(crate) fn info() -> RequestInfo {
        RequestInfo::internal("test")
    }

    pub(crate) async fn create(&self, path: &str, place: &str, body: Value) -> Result<Written, ApiError> {
        self.registry.create(&Self::info(), &target(path, place), Body::Value(body)).await
    }
    pub(crate) async fn update(&self, path: &str, place: &str, body: Value) -> Result<Written, ApiError> {
        self.registry.update(&Self::info(), &target(path, place), Body::Value(body)).await
    }
    pub(crate) async fn merge(&self, path: &str, place: &str, patch: Value) -> Result<Written, ApiError> {
        self.registry.patch(&Self::info(), &target(path, place), PatchKind::Merge, Body::Value(patch)).await
    }
    pub(crate) async fn json_patch(&self, path: &str, place: &str, patch: Value) -> Result<Written, ApiError> {
        self.registry.patch(&Self::info(), &target(path, place), PatchKind::Json, Body::Value(patch)).await
    }
    pub(crate) async fn delete(&self, path: &str, place: &str, options: DeleteOptions) -> Result<Written, ApiError> {
        self.registry.delete(&Self::info(), &target(path, place), options).await
    }
    pub(crate) async fn get(&self, path: &str, place: &str) -> Result<Arc<Value>, ApiError> {
        self.registry.get(&target(path, place), None).await.map(|object| object.value())
    }
    pub(crate) async fn list(&self, path: &str, namespace: &str, options: ListOptions) -> Result<List, ApiError> {
        let target = Target { resource: resource(path), namespace, name: "", subresource: "" };
        self.registry.list(&target, options).await
    }
    pub(crate) async fn watch(&self, path: &str, namespace: &str, options: WatchOptions) -> WatchHandle {
        let target = Target { resource: resource(path), namespace, name: "", subresource: "" };
        self.registry.watch(&target, options).await.expect("a watch")
    }
}

/// `422 Invalid: text`
pub(crate) fn refusal<T>(result: Result<T, ApiError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{} {}: {}", error.code, error.reason.as_str(), error.message),
    }
}

pub(crate) fn names(list: &List) -> Vec<String> {
    list.objects.iter().map(|object| object.key.name.to_string()).collect()
}

fn shown(kind: &str, object: &Object) -> String {
    format!("{kind} {}@{}", object.key.name, object.revision)
}

/// The next items of a watch as `ADDED name@revision`.
pub(crate) async fn next(watch: &mut WatchHandle) -> Vec<String> {
    let items = tokio::time::timeout(Duration::from_secs(90), watch.next()).await.expect("in time");
    let Ok(items) = items else { return vec![refusal(items)] };
    let text = |item: WatchItem| match item {
        WatchItem::Added(object) => shown("ADDED", &object),
        WatchItem::Modified(object) => shown("MODIFIED", &object),
        WatchItem::Deleted(object) => shown("DELETED", &object),
        WatchItem::Bookmark { revision, initial_end } => format!("BOOKMARK @{revision} {initial_end}"),
    };
    items.into_iter().map(text).collect()
}
