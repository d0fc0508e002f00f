//! A whole control plane over an in-memory store, with nodes that only pretend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use api_admission::Chain;
use api_cache::{Cache, CacheConfig, EventKind};
use api_codec::patch::PatchKind;
use api_machinery::{GroupResource, Value, object};
use api_registry::{Body, Clock, DeleteOptions, ListOptions, Registry, RegistryConfig, RequestInfo, Target};
use api_schema::{Resource, Schema};
use controller_runtime::{Chosen, ControllersConfig, Powers};
use jiff::Timestamp;
use serde_json::json;
use store_api::mem::MemStore;
use store_api::{DynStore, FIRST_REVISION};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As the store in memory tells it.
const LEADS_STORE: u64 = 1;

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "a test runs in real time")]
        let now = SystemTime::now();
        Timestamp::try_from(now).expect("a time")
    }
}

pub(crate) struct Cluster {
    pub(crate) store: DynStore,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stop: CancellationToken,
    keys: Arc<tempfile::TempDir>,
    replicas: AtomicU64,
}

/// One replica that competes for the leadership.
pub(crate) struct Replica {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) fn resource(path: &str) -> &'static Resource {
    let parts: Vec<_> = path.split('/').collect();
    let found = match parts.as_slice() {
        [version, plural] => Schema::builtin().resource("", version, plural),
        [group, version, plural] => Schema::builtin().resource(group, version, plural),
        _ => None,
    };
    found.unwrap_or_else(|| panic!("{path} is not served"))
}

/// `v1/pods` and `namespace/name:subresource`, of which all parts may be empty.
pub(crate) fn target<'a>(path: &str, place: &'a str) -> Target<'a> {
    let (place, subresource) = place.split_once(':').unwrap_or((place, ""));
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    Target { resource: resource(path), namespace, name, subresource }
}

async fn registry_over(store: &DynStore, keys: &tempfile::TempDir) -> Arc<Registry> {
    let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
    let tokens = pki::tokens::TokenIssuer::load_or_create(keys.path(), &issuer, vec![issuer.clone()]).expect("keys");
    let config = RegistryConfig {
        service_cidr: "10.96.0.0/16".to_owned(),
        node_ports: 30000..=32767,
        allow_privileged: true,
        clock: Arc::new(WallClock),
        tokens: Arc::new(tokens),
    };
    let cache = Cache::start(store.clone(), CacheConfig::default()).await.expect("a cache");
    Registry::new(Schema::builtin(), store.clone(), cache, Chain::standard(), config)
}

pub(crate) fn info() -> RequestInfo {
    RequestInfo::internal("system:test")
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(MemStore::new())).await
    }

    pub(crate) async fn over(store: DynStore) -> Self {
        let keys = Arc::new(tempfile::tempdir().expect("a directory"));
        let registry = registry_over(&store, &keys).await;
        registry.bootstrap().await.expect("bootstrapped");
        Self { store, registry, stop: CancellationToken::new(), keys, replicas: AtomicU64::new(LEADS_STORE) }
    }

    /// Another replica with a cache of its own, which does not lead the store.
    pub(crate) async fn replica(&self, identity: &str) -> Replica {
        self.replica_with(identity, Powers::default(), Chosen::default()).await
    }

    pub(crate) async fn replica_with(&self, identity: &str, powers: Powers, chosen: Chosen) -> Replica {
        let registry = registry_over(&self.store, &self.keys).await;
        let config = ControllersConfig {
            replica: self.replicas.fetch_add(1, Ordering::Relaxed) + 1,
            identity: identity.to_owned(),
            lease_seconds: 1,
            root_ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            powers,
            chosen,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(controller_runtime::run(registry, config, stop.clone()));
        Replica { stop, task }
    }

    /// Nodes on which every pod becomes ready at once, and ends at once when deleted.
    pub(crate) async fn nodes(&self, count: usize) {
        for index in 0..count {
            let name = format!("node-{index}");
            let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"});
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"capacity": amounts, "allocatable": amounts}});
            self.create("v1/nodes", "", node).await;
            self.heartbeat(&name).await;
        }
        self.pretend();
    }

    pub(crate) fn pretend(&self) {
        let registry = self.registry.clone();
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(pretend(registry)).await });
    }

    pub(crate) async fn heartbeat(&self, node: &str) {
        let now = api_machinery::time::seconds(self.registry.config.clock.now());
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now});
        self.merge("v1/nodes", &format!("{node}:status"), json!({"status": {"conditions": [ready]}})).await;
    }

    pub(crate) async fn create(&self, path: &str, place: &str, body: Value) -> Arc<Value> {
        let written = self.registry.create(&info(), &target(path, place), Body::Value(body)).await;
        written.unwrap_or_else(|error| panic!("create {path} {place}: {error}")).object
    }
    pub(crate) async fn merge(&self, path: &str, place: &str, body: Value) -> Arc<Value> {
        let written = self.registry.patch(&info(), &target(path, place), PatchKind::Merge, Body::Value(body)).await;
        written.unwrap_or_else(|error| panic!("patch {path} {place}: {error}")).object
    }
    pub(crate) async fn delete(&self, path: &str, place: &str, policy: Option<&str>) {
        let options = DeleteOptions { propagation_policy: policy.map(str::to_owned), ..DeleteOptions::default() };
        let deleted = self.registry.delete(&info(), &target(path, place), options).await;
        deleted.unwrap_or_else(|error| panic!("delete {path} {place}: {error}"));
    }
    pub(crate) async fn get(&self, path: &str, place: &str) -> Option<Arc<Value>> {
        self.registry.get(&target(path, place), None).await.ok().map(|object| object.value())
    }
    pub(crate) async fn list(&self, path: &str, namespace: &str) -> Vec<Arc<Value>> {
        let place = Target { resource: resource(path), namespace, name: "", subresource: "" };
        let list = self.registry.list(&place, ListOptions::default()).await.expect("a list");
        list.objects.iter().map(|object| object.value()).collect()
    }

    /// Every pod that ever came to be, with how often it was deleted in all.
    pub(crate) async fn history_of_pods(&self) -> (usize, usize) {
        let mut watch =
            self.registry.cache.watch(&GroupResource::new("", "pods"), None, FIRST_REVISION).expect("the whole window");
        let (mut made, mut deleted) = (0, 0);
        while let Ok(events) = tokio::time::timeout(Duration::from_millis(200), watch.next()).await {
            for event in events.expect("the cache lives") {
                made += usize::from(event.kind == EventKind::Added);
                deleted += usize::from(event.kind == EventKind::Deleted);
            }
        }
        (made, deleted)
    }

    /// Waits until `done` holds; panics with what there is when it takes too long.
    pub(crate) async fn eventually<F: Future<Output = bool>>(&self, what: &str, done: impl Fn() -> F) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if waited.await.is_err() {
            panic!("never happened: {what}\n{}", self.picture().await);
        }
    }

    pub(crate) async fn picture(&self) -> String {
        let mut text = String::new();
        for path in ["apps/v1/deployments", "apps/v1/replicasets", "v1/pods", "v1/namespaces"] {
            for found in self.list(path, "").await {
                let short = json!({"meta": found["metadata"], "replicas": found["spec"]["replicas"], "status": found["status"]});
                text += &format!("{path} {short}\n");
            }
        }
        for event in self.list("v1/events", "").await {
            text += &format!("event {} {}: {}\n", event["involvedObject"]["name"], event["reason"], event["message"]);
        }
        text
    }
}

pub(crate) fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|own| own["type"] == kind)
}

/// Looks at all pods again and again, as a kubelet of all nodes.
async fn pretend(registry: Arc<Registry>) {
    loop {
        let pods = registry.cache.list(&api_machinery::GroupResource::new("", "pods"), None);
        for pod in pods.objects.iter().map(|object| object.value()) {
            pretend_pod(&registry, &pod).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn pretend_pod(registry: &Registry, pod: &Value) {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let place = Target { resource: resource("v1/pods"), namespace, name, subresource: "" };
    if object::str_at(pod, "spec.nodeName").is_empty() {
        return;
    }
    if object::deletion_timestamp(pod).is_some() {
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let _ = registry.delete(&info(), &place, options).await;
    } else if condition(pod, "Ready").is_none() {
        let now = api_machinery::time::seconds(registry.config.clock.now());
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
        let number = object::uid(pod).bytes().map(u32::from).sum::<u32>() % 250 + 1;
        let address = format!("10.244.0.{number}");
        let body = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [condition("PodScheduled"), condition("Ready")]}});
        let status = Target { subresource: "status", ..place };
        let _ = registry.patch(&info(), &status, PatchKind::Merge, Body::Value(body)).await;
    }
}
