//! `pods/resize`: what may change, and what upstream says of the rest.

use crate::common::{Harness, refusal};
use api_machinery::{Value, object};
use serde_json::json;

const PODS: &str = "v1/pods";

fn pod() -> Value {
    let resources =
        json!({"requests": {"cpu": "100m", "memory": "1Mi", "example.org/x": "1"}, "limits": {"example.org/x": "1"}});
    json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "a", "image": "i", "resources": resources}, {"name": "b", "image": "i"}],
        "initContainers": [
            {"name": "once", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always"}]}})
}

async fn resized(pod: Value, patch: Value) -> String {
    let h = Harness::new().await;
    h.create(PODS, "default/", pod).await.expect("created");
    match h.json_patch(PODS, "default/p#resize", patch).await {
        Ok(written) => format!("ok {}", object::generation(&written.object)),
        Err(error) => refusal::<()>(Err(error)),
    }
}

#[tokio::test]
async fn what_may_change() {
    let set = |path: &str, value: Value| json!([{"op": "add", "path": format!("/spec/{path}"), "value": value}]);
    let remove = |path: &str| json!([{"op": "remove", "path": format!("/spec/{path}")}]);
    let requests = "containers/0/resources/requests";
    for (what, patch, expect) in [
        ("cpu", set(&format!("{requests}/cpu"), "200m".into()), "ok 2"),
        ("memory of another", set("containers/1/resources", json!({"limits": {"memory": "1Mi"}})), "ok 2"),
        ("a sidecar", set("initContainers/1/resources", json!({"requests": {"cpu": "1"}})), "ok 2"),
        ("nothing", json!([]), "ok 1"),
        ("an image is not looked at", set("containers/0/image", "j".into()), "ok 1"),
        (
            "taking cpu away",
            remove(&format!("{requests}/cpu")),
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            "something else than cpu and memory",
            json!([{"op": "add", "path": format!("/spec/{requests}/example.org~1x"), "value": "2"},
                   {"op": "add", "path": "/spec/containers/0/resources/limits/example.org~1x", "value": "2"}]),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            "how it is resized",
            set("containers/0/resizePolicy", json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}])),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            "more containers",
            set("containers/-", json!({"name": "c", "image": "i"})),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            "other containers",
            set("containers/0/name", "c".into()),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ),
    ] {
        let outcome = resized(pod(), patch).await;
        assert!(outcome.ends_with(expect), "{what}: {outcome}");
    }
}

#[tokio::test]
async fn which_pods_may_not() {
    let cpu = || json!([{"op": "add", "path": "/spec/containers/0/resources", "value": {"requests": {"cpu": "1"}}}]);
    let bare = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let outcome = resized(bare.clone(), cpu()).await;
    assert!(
        outcome.ends_with(r#"spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing"#),
        "{outcome}"
    );
    let mut fixed = bare.clone();
    fixed["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    fixed["spec"]["nodeName"] = "n".into();
    assert!(resized(fixed, cpu()).await.ends_with(": Forbidden: static pods cannot be resized"));
    let mut windows = bare;
    windows["spec"]["os"] = json!({"name": "windows"});
    assert!(resized(windows, cpu()).await.ends_with(": Forbidden: windows pods cannot be resized"));
    let h = Harness::new().await;
    h.create(PODS, "default/", pod()).await.expect("created");
    let status = |more: Value| {
        let mut running = json!({"name": "a", "ready": true, "restartCount": 0, "image": "i", "imageID": "i",
            "state": {"running": {"startedAt": "2027-01-15T08:00:00Z"}}});
        for (field, value) in more.as_object().into_iter().flatten() {
            running[field] = value.clone();
        }
        json!({"status": {"containerStatuses": [running]}})
    };
    let cpu = || json!([{"op": "add", "path": "/spec/containers/0/resources/requests/cpu", "value": "200m"}]);
    h.merge(PODS, "default/p#status", status(json!({}))).await.expect("running");
    let outcome = refusal(h.json_patch(PODS, "default/p#resize", cpu()).await);
    assert!(outcome.ends_with("spec: Forbidden: Pod running on node without support for resize"), "{outcome}");
    let shown = json!({"resources": {"requests": {"cpu": "100m"}}});
    h.merge(PODS, "default/p#status", status(shown)).await.expect("running");
    h.json_patch(PODS, "default/p#resize", cpu()).await.expect("resized");
}

#[tokio::test]
async fn resources_of_the_pod_itself() {
    let mut own = pod();
    own["spec"]["resources"] = json!({"requests": {"cpu": "1", "memory": "1Gi"}});
    let set = |value: Value| json!([{"op": "replace", "path": "/spec/resources", "value": value}]);
    let more = set(json!({"requests": {"cpu": "2", "memory": "1Gi"}}));
    assert_eq!(resized(own.clone(), more).await, "ok 2");
    let less = set(json!({"requests": {"cpu": "2"}}));
    let outcome = resized(own.clone(), less).await;
    assert!(
        outcome.ends_with("spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"),
        "{outcome}"
    );
    let none = json!([{"op": "remove", "path": "/spec/resources"}]);
    assert!(resized(own, none).await.ends_with("spec.resources: Forbidden: pod-level resources cannot be removed"));
}
