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

/// Of what is on by default: the rest of the object is as it was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_gates_that_are_switched_off() {
    const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
    const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    const SWITCHED: &str = "DRAConsumableCapacity=false,DRADeviceBindingConditions=false,DRADeviceTaints=false,\
                            DRAPartitionableDevices=false,DeploymentReplicaSetTerminatingReplicas=false";
    let bare = json!({"name": "d0", "attributes": {"a": {"int": 1}}, "capacity": {"c": {"value": "2"}}});
    let mut device = bare.clone();
    device["capacity"]["c"]["requestPolicy"] = json!({"default": "1", "validValues": ["1", "2"]});
    for (field, value) in [
        ("allowMultipleAllocations", json!(true)),
        ("bindingConditions", json!(["example.com/ready"])),
        ("bindingFailureConditions", json!(["example.com/broken"])),
        ("bindsToNode", json!(true)),
        ("taints", json!([{"key": "example.com/t", "effect": "NoSchedule", "timeAdded": "2024-01-01T00:00:00Z"}])),
    ] {
        device[field] = value;
    }
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "d.example.com", "nodeName": "n",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [device]}});
    let exactly = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
    let mut asked = exactly.clone();
    asked["tolerations"] = json!([{"key": "example.com/t", "operator": "Exists"}]);
    asked["capacity"] = json!({"requests": {"c": "1"}});
    let claim =
        json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": asked}]}}});
    for (gates, wanted) in [("", (&device, &asked)), (SWITCHED, (&bare, &exactly))] {
        let server = Running::featuring("", gates).await;
        let made = server.admin.post(SLICES, &slice).await;
        assert_eq!(made.code, 201, "{}", made.status());
        assert_eq!(made.json()["spec"]["devices"][0], *wanted.0, "{gates}");
        let made = server.admin.post(CLAIMS, &claim).await;
        assert_eq!(made.code, 201, "{}", made.status());
        assert_eq!(made.json()["spec"]["devices"]["requests"][0]["exactly"], *wanted.1, "{gates}");
    }
}
