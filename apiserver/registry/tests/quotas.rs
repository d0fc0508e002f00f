//! Quotas of a namespace, however many write at once.

use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_admission::Chain;
use api_machinery::{Value, object};
use api_registry::{Body, DeleteOptions, ListOptions, RequestInfo};
use serde_json::{Value as Json, json};
use store_api::mem::MemStore;

const QUOTAS: &str = "v1/resourcequotas";
const MAPS: &str = "v1/configmaps";
const PODS: &str = "v1/pods";
const SERVICES: &str = "v1/services";

/// A namespace `q` with a default account.
async fn prepare(h: &Harness) {
    h.create("v1/namespaces", "", json!({"metadata": {"name": "q"}})).await.expect("created");
    h.create("v1/serviceaccounts", "q/", json!({"metadata": {"name": "default"}})).await.expect("created");
}

/// A quota that is counted already, as its controller would have.
async fn limit(h: &Harness, name: &str, spec: Json, used: Json) {
    let hard = spec["hard"].clone();
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let mut quota = h.create(QUOTAS, "q/", body).await.expect("created").object.as_ref().clone();
    quota["status"] = json!({"hard": hard, "used": used});
    h.update(QUOTAS, &format!("q/{name}#status"), quota).await.expect("counted");
    // Which this replica's cache shows from here on.
    self::used(h, name).await;
}

async fn used(h: &Harness, name: &str) -> Value {
    h.get(QUOTAS, &format!("q/{name}")).await.expect("there")["status"]["used"].clone()
}

async fn count(h: &Harness, path: &str) -> usize {
    h.list(path, "q", ListOptions::default()).await.expect("listed").objects.len()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn pod(name: &str) -> Value {
    let resources = json!({"requests": {"cpu": "100m", "memory": "1Mi"}});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_creates_at_once_never_exceed_a_quota() {
    const LIMIT: usize = 100;
    let h = Arc::new(Harness::admitting().await);
    prepare(&h).await;
    limit(&h, "maps", json!({"hard": {"configmaps": LIMIT.to_string()}}), json!({"configmaps": "0"})).await;
    let tasks: Vec<_> = (0..1000)
        .map(|index| {
            let h = h.clone();
            tokio::spawn(async move { refusal(h.create(MAPS, "q/", map(&format!("m{index}"))).await) })
        })
        .collect();
    let (mut made, mut refused) = (0, 0);
    for task in tasks {
        match task.await.expect("no panic").as_str() {
            "ok" => made += 1,
            why => {
                let full = "is forbidden: exceeded quota: maps, requested: configmaps=1, used: configmaps=100, limited: configmaps=100";
                assert!(why.starts_with("403 Forbidden: configmaps \"m") && why.ends_with(full), "{why}");
                refused += 1;
            }
        }
    }
    assert_eq!((made, refused, count(&h, MAPS).await), (LIMIT, 1000 - LIMIT, LIMIT));
    assert_eq!(used(&h, "maps").await, json!({"configmaps": "100"}));
}

/// The cache is behind what was just written, and the lost write is not the client's fault.
#[tokio::test]
async fn a_quota_that_was_just_changed_is_spent() {
    let h = Harness::admitting().await;
    prepare(&h).await;
    limit(&h, "maps", json!({"hard": {"configmaps": "20"}}), json!({"configmaps": "0"})).await;
    for index in 0..20 {
        let mut quota = h.get(QUOTAS, "q/maps").await.expect("there").as_ref().clone();
        quota["metadata"]["labels"] = json!({"changed": index.to_string()});
        h.update(QUOTAS, "q/maps", quota).await.expect("changed");
        assert_eq!(refusal(h.create(MAPS, "q/", map(&format!("m{index}"))).await), "ok");
    }
    assert_eq!(used(&h, "maps").await, json!({"configmaps": "20"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_spend_the_same_quota() {
    let store = MemStore::new();
    let first = Arc::new(Harness::with(store.clone(), Chain::standard()).await);
    prepare(&first).await;
    let hard = json!({"pods": "1000", "requests.cpu": "5"});
    limit(&first, "cpu", json!({"hard": hard}), json!({"pods": "0", "requests.cpu": "0"})).await;
    let second = Arc::new(Harness::with(store, Chain::standard()).await);
    let tasks: Vec<_> = (0..120)
        .map(|index| {
            let h = if index % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move { h.create(PODS, "q/", pod(&format!("p{index}"))).await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.expect("no panic"));
    }
    // 50 of 100m are 5.
    assert_eq!((made, count(&first, PODS).await), (50, 50));
    assert_eq!(used(&first, "cpu").await, json!({"pods": "50", "requests.cpu": "5"}));
}

#[tokio::test]
async fn object_and_quota_are_one_write() {
    let h = Harness::admitting().await;
    prepare(&h).await;
    limit(&h, "maps", json!({"hard": {"count/configmaps": "2"}}), json!({"count/configmaps": "0"})).await;
    limit(&h, "others", json!({"hard": {"secrets": "2"}}), json!({"secrets": "0"})).await;
    let made = h.create(MAPS, "q/", map("a")).await.expect("created");
    let quota = h.get(QUOTAS, "q/maps").await.expect("there");
    assert_eq!(object::resource_version(&quota), made.revision.to_string());
    assert_eq!(used(&h, "others").await, json!({"secrets": "0"}), "what is not concerned is not written");
    // Nothing is spent by what is not done.
    let dry = RequestInfo { dry_run: true, ..Harness::info() };
    h.registry.create(&dry, &target(MAPS, "q/"), Body::Value(map("b"))).await.expect("would be");
    assert!(refusal(h.create(MAPS, "q/", map("a")).await).starts_with("409 AlreadyExists"));
    assert_eq!(used(&h, "maps").await, json!({"count/configmaps": "1"}));
    // A dry run is refused like the write would be.
    h.create(MAPS, "q/", map("b")).await.expect("created");
    assert_eq!(used(&h, "maps").await, json!({"count/configmaps": "2"}));
    let full = h.registry.create(&dry, &target(MAPS, "q/"), Body::Value(map("c"))).await;
    let full = refusal(full);
    assert!(full.starts_with("403 Forbidden: configmaps \"c\" is forbidden: exceeded quota: maps"), "{full}");
    // What is deleted is given back by a controller; here by hand.
    h.delete(MAPS, "q/b", DeleteOptions::default()).await.expect("deleted");
    let mut quota = h.get(QUOTAS, "q/maps").await.expect("there").as_ref().clone();
    quota["status"]["used"]["count/configmaps"] = "1".into();
    h.update(QUOTAS, "q/maps#status", quota).await.expect("lowered");
    h.create(MAPS, "q/", map("c")).await.expect("there is room again");
    // Without a quota nothing is counted.
    h.delete(QUOTAS, "q/maps", DeleteOptions::default()).await.expect("deleted");
    h.create(MAPS, "q/", map("d")).await.expect("created");
}

#[tokio::test]
async fn updates_spend_what_they_add() {
    let h = Harness::admitting().await;
    prepare(&h).await;
    let hard = json!({"services": "5", "services.nodeports": "2", "services.loadbalancers": "0"});
    let none = json!({"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"});
    limit(&h, "ports", json!({"hard": hard}), none).await;
    let body =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
    h.create(SERVICES, "q/", body).await.expect("created");
    h.merge(SERVICES, "q/s", json!({"spec": {"type": "NodePort"}})).await.expect("changed");
    assert_eq!(
        used(&h, "ports").await,
        json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"})
    );
    assert_eq!(
        refusal(h.merge(SERVICES, "q/s", json!({"spec": {"type": "LoadBalancer"}})).await),
        "403 Forbidden: services \"s\" is forbidden: exceeded quota: ports, requested: services.loadbalancers=1, \
         used: services.loadbalancers=0, limited: services.loadbalancers=0"
    );
    // What says nothing of what is limited is refused, and what a quota does not hold is not.
    limit(&h, "strict", json!({"hard": {"limits.cpu": "1"}, "scopes": ["NotBestEffort"]}), json!({"limits.cpu": "0"}))
        .await;
    assert_eq!(
        refusal(h.create(PODS, "q/", pod("p")).await),
        "403 Forbidden: pods \"p\" is forbidden: failed quota: strict: must specify limits.cpu for: c"
    );
    let body = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    h.create(PODS, "q/", body).await.expect("best effort");
}
