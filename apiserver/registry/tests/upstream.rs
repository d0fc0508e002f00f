//! What clients see of the rules that upstream's registry strategies add: fields always written, who made a
//! request, strict events, component statuses.

use crate::common::{Harness, names, refusal, target};
use api_codec::patch::PatchKind;
use api_machinery::{UserInfo, Value, time};
use api_registry::{Body, ListOptions, RequestInfo};
use serde_json::json;

const CORE_EVENTS: &str = "v1/events";
const EVENTS: &str = "events.k8s.io/v1/events";
/// Base64 of a PEM request.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITE1ITUNBUUF3RVRFUE1BMEdBMVVFQXd3R2MyRnRjR3hsTUZr\
    d0V3WUhLb1pJemowQ0FRWUlLb1pJemowRApBUWNEUWdBRVRSL3BDd3lBUXBIeFNVTmpVWGUxbVpWajhIa0lnR2laVng0NHFxZ0JB\
    YzN1aWJtZm9nemJVbkVZCjIyWHBJZzZMNVFkVEo0eWR2c1o1eEI0VnNXZ1dYS0FBTUFvR0NDcUdTTTQ5QkFNQ0EwZ0FNRVVDSUVG\
    MUc5LysKLzJlNENDQW9pTFVtbG1IWVV4Y3dPSUZKWGp1M3dGTG9tUy82QWlFQXhzbGtyUFIxcWdaRG5GdFhvWFMrWXVscgpMa2xl\
    c083TXd6T0tZVFMzODNnPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
const REQUESTS: &str = "certificates.k8s.io/v1/certificatesigningrequests";
const COMPONENTS: &str = "v1/componentstatuses";

fn workload(kind: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]},
            },
        },
    })
}

#[tokio::test]
async fn what_hooks_drop_is_still_written() {
    let h = Harness::new().await;
    for (path, kind, status) in [
        ("apps/v1/deployments", "Deployment", json!({})),
        ("apps/v1/replicasets", "ReplicaSet", json!({"replicas": 0})),
    ] {
        let mut body = workload(kind);
        body["status"] = json!({"replicas": 7});
        let written = h.create(path, "default/", body).await.expect("created");
        let stored = h.get(path, "default/web").await.expect("there");
        assert_eq!(stored["status"], status, "{kind}");
        assert_eq!(stored["spec"]["template"]["spec"]["containers"][0]["resources"], json!({}), "{kind}");
        assert_eq!(written.object, stored, "{kind}");
        assert_eq!(stored["metadata"]["generation"], 1, "{kind}");
        // As it came back, and without a status: nothing changes, nothing is written.
        let mut again = (*stored).clone();
        again.as_object_mut().expect("an object").remove("status");
        let updated = h.update(path, "default/web", again.clone()).await.expect("updated");
        assert_eq!(updated.revision, written.revision, "{kind}");
        let updated = h.update(path, "default/web#status", again).await.expect("updated");
        assert_eq!(updated.object["status"], status, "{kind}");
    }
    let body = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    h.create("v1/pods", "default/", body).await.expect("created");
    h.create("v1/pods", "default/p#binding", json!({"target": {"name": "n"}})).await.expect("bound");
    let bound = h.get("v1/pods", "default/p").await.expect("there");
    assert_eq!(bound["spec"]["containers"][0]["resources"], json!({}));
}

#[tokio::test]
async fn finalizers_have_known_names() {
    let h = Harness::new().await;
    let body = |finalizer: &str| json!({"metadata": {"name": "x", "finalizers": [finalizer]}});
    assert_eq!(
        refusal(h.create("v1/configmaps", "default/", body("mine")).await),
        "422 Invalid: ConfigMap \"x\" is invalid: metadata.finalizers[0]: Invalid value: \"mine\": name is neither a \
         standard finalizer name nor is it fully qualified"
    );
    h.create("v1/configmaps", "default/", body("example.com/mine")).await.expect("created");
}

#[tokio::test]
async fn requests_say_who_made_them() {
    let h = Harness::new().await;
    let user = UserInfo {
        name: "jane".to_owned(),
        groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
        extra: [("scopes".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
        ..UserInfo::default()
    };
    let info = RequestInfo { user, ..RequestInfo::default() };
    let body = json!({
        "metadata": {"name": "r"},
        "spec": {
            "signerName": "example.com/s", "usages": ["client auth"],
            "request": REQUEST,
            "username": "system:admin", "uid": "u", "groups": ["system:masters"], "extra": {"a": ["b"]},
        },
        "status": {"certificate": "AAAA", "conditions": [{"type": "Approved", "status": "True"}]},
    });
    h.registry.create(&info, &target(REQUESTS, ""), Body::Value(body)).await.expect("created");
    let stored = h.get(REQUESTS, "r").await.expect("there");
    let spec = &stored["spec"];
    assert_eq!(
        json!([spec["username"], spec["groups"], spec["extra"], spec.get("uid"), stored["status"]]),
        json!(["jane", ["dev", "system:authenticated"], {"scopes": ["a", "b"]}, null, {}])
    );
    let changed = h.merge(REQUESTS, "r", json!({"spec": {"username": "eve", "groups": null}})).await.expect("patched");
    assert_eq!(changed.object["spec"], *spec);
}

fn event(name: &str) -> Value {
    json!({
        "metadata": {"name": name}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R", "type": "Normal", "action": "A", "eventTime": "2027-01-15T08:00:00.000000Z",
        "reportingController": "c.example/x", "reportingInstance": "i",
    })
}

#[tokio::test]
async fn events_of_the_new_group_are_strict() {
    let h = Harness::new().await;
    let without = |field: &str| {
        let mut event = event("e");
        event.as_object_mut().expect("an object").remove(field);
        event
    };
    let with = |field: &str, value: Value| {
        let mut event = event("e");
        event[field] = value;
        event
    };
    for (body, field) in [
        (without("eventTime"), "eventTime: Required value"),
        (without("reportingInstance"), "reportingInstance: Required value"),
        (without("action"), "action: Required value"),
        (with("type", "Odd".into()), "type: Invalid value"),
        (with("note", "x".repeat(1025).into()), "message: Invalid value"),
        (with("deprecatedCount", 2.into()), "count: Invalid value"),
    ] {
        let refused = refusal(h.create(EVENTS, "default/", body).await);
        assert!(refused.starts_with("422 Invalid") && refused.contains(field), "{field}: {refused}");
    }
    // Namespaces are compared where there is no time.
    let stray = json!({"metadata": {"name": "stray"}, "involvedObject": {"namespace": "other"}});
    let refused = refusal(h.create(CORE_EVENTS, "default/", stray).await);
    assert_eq!(refused.matches("involvedObject.namespace: Invalid value").count(), 1, "{refused}");
    h.create(EVENTS, "default/", event("e")).await.expect("created");
    // Through the core group they may say less.
    let old = json!({"metadata": {"name": "old"}, "involvedObject": {"namespace": "default"}});
    h.create(CORE_EVENTS, "default/", old).await.expect("created");
}

/// As client-go's recorders count repeated events.
#[tokio::test]
async fn events_are_counted_by_patches() {
    let h = Harness::new().await;
    let old = json!({
        "metadata": {"name": "b"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R", "type": "Normal", "message": "said", "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2027-01-15T08:00:00Z", "lastTimestamp": "2027-01-15T08:00:00Z", "count": 1,
    });
    h.create(CORE_EVENTS, "default/", old).await.expect("created");
    h.create(EVENTS, "default/", event("a")).await.expect("created");
    let patch = async |path: &str, place: &str, patch: Value| {
        let info = Harness::info();
        h.registry.patch(&info, &target(path, place), PatchKind::Strategic, Body::Value(patch)).await
    };
    let again = json!({"count": 2, "lastTimestamp": "2027-01-15T08:05:00Z"});
    let counted = patch(CORE_EVENTS, "default/b", again).await.expect("patched");
    assert_eq!((&counted.object["count"], &counted.object["message"]), (&json!(2), &json!("said")));
    let series = json!({"series": {"count": 2, "lastObservedTime": "2027-01-15T08:06:00.000000Z"}});
    let counted = patch(EVENTS, "default/a", series.clone()).await.expect("patched");
    assert_eq!((&counted.object["series"], &counted.object["regarding"]["name"]), (&series["series"], &json!("p")));
    let core = h.get(CORE_EVENTS, "default/b").await.expect("there");
    assert_eq!(core["lastTimestamp"], "2027-01-15T08:05:00Z");
    let core = h.get(CORE_EVENTS, "default/a").await.expect("there");
    assert_eq!(core["series"], series["series"]);
    // Lists are in order of names, as kubectl shows them; it sorts by time itself where asked.
    for path in [CORE_EVENTS, EVENTS] {
        assert_eq!(names(&h.list(path, "default", ListOptions::default()).await.expect("a list")), ["a", "b"]);
    }
}

#[tokio::test]
async fn components_are_as_healthy_as_they_are() {
    let h = Harness::new().await;
    let list = h.list(COMPONENTS, "", ListOptions::default()).await.expect("a list");
    assert_eq!(names(&list), ["controller-manager", "etcd-0", "scheduler"]);
    let healthy = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
    let etcd = h.get(COMPONENTS, "etcd-0").await.expect("there");
    assert_eq!((&etcd["kind"], &etcd["conditions"]), (&json!("ComponentStatus"), &healthy));
    let scheduler = h.get(COMPONENTS, "scheduler").await.expect("there");
    let nobody =
        json!([{"type": "Healthy", "status": "False", "error": "nobody holds the lease kube-system/kube-scheduler"}]);
    assert_eq!(scheduler["conditions"], nobody);
    let renewed = time::micros(api_registry::Clock::now(&*h.clock));
    let lease = json!({
        "metadata": {"name": "kube-scheduler"},
        "spec": {"holderIdentity": "r1", "leaseDurationSeconds": 15, "renewTime": renewed},
    });
    h.create("coordination.k8s.io/v1/leases", "kube-system/", lease).await.expect("created");
    assert_eq!(h.get(COMPONENTS, "scheduler").await.expect("there")["conditions"], healthy);
    h.clock.advance(16);
    let late = h.get(COMPONENTS, "scheduler").await.expect("there");
    assert_eq!(late["conditions"][0]["error"], "r1 did not renew the lease kube-system/kube-scheduler in time");
    assert_eq!(refusal(h.get(COMPONENTS, "x").await), "500 : Component not found: x");
}
