//! What feature gates switch, seen by clients: one server as upstream is by default, and one with it switched off.

use serde_json::{Value, json};

use crate::common::Running;

const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const OFF: &str = "APIResponseCompression=false,ComponentFlagz=false,ComponentStatusz=false,HPAConfigurableTolerance=false,HostnameOverride=false,\
                   OpenAPIEnums=false,StorageVersionHash=false,WatchList=false";

/// What a client sees of each gate.
async fn seen(server: &Running) -> Value {
    let admin = &server.admin;
    let compressed = admin.with("/openapi/v2", &[("accept-encoding", "gzip")]).await;
    let pods = admin.get("/openapi/v3/api/v1").await.json();
    let policy = &pods["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"];
    let resources = admin.get("/api/v1").await.json();
    let maps = resources["resources"].as_array().into_iter().flatten().find(|one| one["name"] == "configmaps");
    let listing = format!(
        "{PODS}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
    );
    let watched = admin.get(&listing).await;
    let last = watched.text().lines().last().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let ended = last.map(|line| match line["message"].as_str() {
        Some(why) => why.to_owned(),
        None => line["object"]["metadata"]["annotations"].to_string(),
    });
    let scaler = json!({"metadata": {"name": "h"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
                     "averageUtilization": 50}}}],
        "behavior": {"scaleDown": {"tolerance": "0.2", "stabilizationWindowSeconds": 30}}}});
    let scaler = admin.post(SCALERS, &scaler).await.json();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"hostnameOverride": "h",
                     "containers": [{"name": "c", "image": "registry.example/x:1"}]}});
    let pod = admin.post(&format!("{PODS}?dryRun=All"), &pod).await.json();
    let pages = [admin.get("/statusz").await.code, admin.get("/flagz").await.code];
    json!({
        "pages": pages,
        "compression": compressed.header("content-encoding"),
        "enums": policy.get("enum").is_some(),
        "hash": maps.is_some_and(|map| map.get("storageVersionHash").is_some()),
        "watch": [Value::from(watched.code), Value::from(ended)],
        "tolerance": scaler["spec"]["behavior"]["scaleDown"]["tolerance"],
        "window": scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
        "hostname": pod["spec"]["hostnameOverride"],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_is_there() {
    let server = Running::start().await;
    let expected = json!({"pages": [200, 200], "compression": "gzip", "enums": true, "hash": true, "watch": [200, "{\"k8s.io/initial-events-end\":\"true\"}"],
        "tolerance": "200m", "window": 30, "hostname": "h"});
    assert_eq!(seen(&server).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_off_is_not() {
    let server = Running::featuring("", OFF).await;
    let refused = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden \
                   for watch unless the WatchList feature gate is enabled";
    let expected = json!({"pages": [404, 404], "compression": "", "enums": false, "hash": false, "watch": [422, refused],
        "tolerance": null, "window": 30, "hostname": null});
    assert_eq!(seen(&server).await, expected);
}

/// Of what is off by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_gates_that_are_off() {
    let server = Running::start().await;
    let containers = json!([{"name": "c", "image": "registry.example/x:1", "lifecycle": {"stopSignal": "SIGUSR1"}}]);
    let sources = json!([{"clusterTrustBundle": {"name": "b", "path": "p"}},
                         {"configMap": {"name": "m"}}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers,
                     "volumes": [{"name": "v", "projected": {"sources": sources}}]}});
    let pod = server.admin.post(PODS, &pod).await.json();
    assert_eq!(pod["spec"]["containers"][0].get("lifecycle"), None);
    assert_eq!(pod["spec"]["volumes"][0]["projected"]["sources"], json!([{}, {"configMap": {"name": "m"}}]));
    let set = json!({"metadata": {"name": "s"}, "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}}});
    let set = server.admin.post(SETS, &set).await.json();
    assert_eq!(set["spec"]["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container.get("lifecycle"), None, "{container}");
}
