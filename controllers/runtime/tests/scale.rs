//! Many pods: `cargo test -p controller-runtime --test scale -- --ignored --nocapture` prints how fast.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::common::{Cluster, deployment};
use api_machinery::{GroupResource, object};
use serde_json::json;
use store_api::{RangeRequest, ReadAt};

const NODES: usize = 200;
const PODS: usize = 2_000;

/// Versions ever written of everything that is there, by resource.
async fn writes(cluster: &Cluster) -> BTreeMap<String, u64> {
    let all = RangeRequest::prefix(b"/registry/", ReadAt::Local);
    let mut counts = BTreeMap::new();
    for kv in cluster.store.range(all).await.expect("read").kvs {
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        *counts.entry(key.split('/').nth(3).unwrap_or_default().to_owned()).or_default() += kv.version;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn two_thousand_pods() {
    let cluster = Cluster::start().await;
    let _replica = cluster.replica("one").await;
    cluster.nodes(NODES).await;
    cluster
        .eventually("service account", || async {
            cluster.get("v1/serviceaccounts", "default/default").await.is_some()
        })
        .await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create("v1/services", "default/", service).await;
    let began = Instant::now();
    cluster.create("apps/v1/deployments", "default/", deployment("web", 2_000, "web:1")).await;
    let pods = GroupResource::new("", "pods");
    let (mut created, mut bound) = (None, None);
    loop {
        let all = cluster.registry.cache.list(&pods, Some("default")).objects;
        let on_nodes = all.iter().filter(|pod| !object::str_at(&pod.value(), "spec.nodeName").is_empty()).count();
        if all.len() == PODS && created.is_none() {
            created = Some(began.elapsed());
        }
        if on_nodes == PODS && bound.is_none() {
            bound = Some(began.elapsed());
        }
        let found = cluster.get("apps/v1/deployments", "default/web").await.expect("there");
        if found["status"]["availableReplicas"] == PODS {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "{on_nodes} of {} bound", all.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (resource, writes) in writes(&cluster).await {
        println!("{resource}: {writes} writes");
    }
    println!(
        "{PODS} pods on {NODES} nodes: created after {created:?}, bound after {bound:?}, available after {:?}",
        began.elapsed()
    );
}
