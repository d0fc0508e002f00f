//! Create, get, update, patch, status, scale and delete of plain objects.

use crate::common::{Harness, refusal, target};
use api_machinery::{Value, object};
use api_registry::{Body, DeleteOptions, RequestInfo};
use serde_json::json;

const MAPS: &str = "v1/configmaps";
const DEPLOYMENTS: &str = "apps/v1/deployments";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]},
            },
        },
        "status": {"replicas": 7},
    })
}

#[tokio::test]
async fn create_sets_what_the_server_owns() {
    let h = Harness::new().await;
    let mut body = map("x");
    body["metadata"]["uid"] = "mine".into();
    body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    body["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    body["metadata"]["selfLink"] = "/x".into();
    body["metadata"]["managedFields"] = json!([{"manager": "m"}]);
    let written = h.create(MAPS, "default/", body).await.expect("created");
    assert!(written.created);
    let meta = &written.object["metadata"];
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["creationTimestamp"], "2027-01-15T08:00:00Z");
    assert_eq!(meta["resourceVersion"], written.revision.to_string());
    assert_eq!(object::uid(&written.object).len(), 36);
    for field in ["deletionTimestamp", "selfLink"] {
        assert!(meta.get(field).is_none(), "{field}");
    }
    assert_eq!(meta["managedFields"][0]["manager"], "test", "and not whoever the client makes up, unreadably");
    assert_eq!(h.get(MAPS, "default/x").await.expect("there"), written.object);
}

#[tokio::test]
async fn refusals() {
    let h = Harness::new().await;
    h.create(MAPS, "default/", map("x")).await.expect("created");
    let with = |field: &str, value: &str| {
        let mut body = map("x");
        body["metadata"][field] = value.into();
        body
    };
    let mut other_kind = map("x");
    other_kind["kind"] = "Secret".into();
    let mut other_version = map("x");
    other_version["apiVersion"] = "v2".into();
    let create = [
        (map("x"), r#"409 AlreadyExists: configmaps "x" already exists"#),
        (with("resourceVersion", "5"), "500 : resourceVersion should not be set on objects to be created"),
        (
            with("namespace", "other"),
            "400 BadRequest: the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            with("name", ""),
            r#"422 Invalid: ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#,
        ),
        (
            other_version,
            "400 BadRequest: the API version in the data (v2) does not match the expected API version (v1)",
        ),
    ];
    for (body, expect) in create {
        assert_eq!(refusal(h.create(MAPS, "default/", body).await), expect);
    }
    let refused = refusal(h.create(MAPS, "default/", other_kind).await);
    assert!(
        refused.starts_with("400 BadRequest: Secret in version \"v1\" cannot be handled as a ConfigMap"),
        "{refused}"
    );
    assert_eq!(refusal(h.get(MAPS, "default/none").await), r#"404 NotFound: configmaps "none" not found"#);
    let update = [
        ("default/y", map("x"), "400 BadRequest: the name of the object (x) does not match the name on the URL (y)"),
        ("default/y", map("y"), r#"404 NotFound: configmaps "y" not found"#),
        (
            "default/x",
            with("resourceVersion", "999"),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again",
        ),
    ];
    for (place, body, expect) in update {
        assert_eq!(refusal(h.update(MAPS, place, body).await), expect);
    }
    let refused = refusal(h.update(MAPS, "default/x", with("uid", "other")).await);
    assert!(
        refused.contains("409 Conflict")
            && refused.contains("Precondition failed: UID in precondition: other, UID in object meta: "),
        "{refused}"
    );
}

#[tokio::test]
async fn generated_names() {
    let h = Harness::new().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let written = h.create(MAPS, "default/", body).await.expect("created");
    let name = object::name(&written.object);
    let suffix = name.strip_prefix("web-").expect("the prefix");
    assert_eq!(suffix.len(), 5);
    assert!(suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)), "{name}");
}

#[tokio::test]
async fn update_counts_spec_changes_and_keeps_status() {
    let h = Harness::new().await;
    let created = h.create(DEPLOYMENTS, "default/", deployment(1)).await.expect("created");
    assert_eq!(object::generation(&created.object), 1);
    assert_eq!(object::at(&created.object, "status.replicas"), None);
    let same = h.update(DEPLOYMENTS, "default/web", (*created.object).clone()).await.expect("updated");
    assert_eq!(same.revision, created.revision, "nothing changed, nothing is written");
    let mut labelled = (*created.object).clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let labelled = h.update(DEPLOYMENTS, "default/web", labelled).await.expect("updated");
    assert_eq!(object::generation(&labelled.object), 1);
    let mut scaled = (*labelled.object).clone();
    scaled["spec"]["replicas"] = 3.into();
    scaled["status"] = json!({"replicas": 9});
    scaled["metadata"]["generation"] = 77.into();
    let scaled = h.update(DEPLOYMENTS, "default/web", scaled).await.expect("updated");
    assert_eq!(object::generation(&scaled.object), 2);
    assert_eq!(object::at(&scaled.object, "status.replicas"), None);
    let mut status = (*scaled.object).clone();
    status["spec"]["replicas"] = 100.into();
    status["status"] = json!({"replicas": 3, "observedGeneration": 2});
    let status = h.update(DEPLOYMENTS, "default/web#status", status).await.expect("updated");
    assert_eq!(object::generation(&status.object), 2);
    assert_eq!(status.object["spec"]["replicas"], 3);
    assert_eq!(status.object["status"]["replicas"], 3);
}

#[tokio::test]
async fn scale() {
    let h = Harness::new().await;
    h.create(DEPLOYMENTS, "default/", deployment(2)).await.expect("created");
    let scale = h.get(DEPLOYMENTS, "default/web#scale").await.expect("there");
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web"}));
    let mut put = (*scale).clone();
    put["spec"]["replicas"] = 5.into();
    let written = h.update(DEPLOYMENTS, "default/web#scale", put.clone()).await.expect("scaled");
    assert_eq!(written.object["spec"]["replicas"], 5);
    assert!(refusal(h.update(DEPLOYMENTS, "default/web#scale", put).await).starts_with("409 Conflict"));
    h.merge(DEPLOYMENTS, "default/web#scale", json!({"spec": {"replicas": 0}})).await.expect("scaled");
    let object = h.get(DEPLOYMENTS, "default/web").await.expect("there");
    assert_eq!((object["spec"]["replicas"].as_i64(), object::generation(&object)), (Some(0), 3));
    let refused = h.merge(DEPLOYMENTS, "default/web#scale", json!({"spec": {"replicas": -1}})).await;
    assert_eq!(
        refusal(refused),
        r#"422 Invalid: Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
    );
}

#[tokio::test]
async fn dry_run_does_everything_but_write() {
    let h = Harness::new().await;
    let dry = RequestInfo { dry_run: true, ..Harness::info() };
    let at = target(MAPS, "default/");
    let created = h.registry.create(&dry, &at, Body::Value(map("x"))).await.expect("would be");
    assert_eq!(object::uid(&created.object).len(), 36);
    assert_eq!(refusal(h.get(MAPS, "default/x").await), r#"404 NotFound: configmaps "x" not found"#);
    let real = h.create(MAPS, "default/", map("x")).await.expect("created");
    assert!(refusal(h.registry.create(&dry, &at, Body::Value(map("x"))).await).starts_with("409 AlreadyExists"));
    let at = target(MAPS, "default/x");
    let mut changed = map("x");
    changed["data"]["a"] = "2".into();
    let updated = h.registry.update(&dry, &at, Body::Value(changed)).await.expect("would be");
    assert_eq!(updated.object["data"]["a"], "2");
    h.registry.delete(&dry, &at, DeleteOptions::default()).await.expect("would be");
    assert_eq!(h.get(MAPS, "default/x").await.expect("there"), real.object);
}

#[tokio::test]
async fn put_creates_where_the_kind_allows() {
    let h = Harness::new().await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let path = "coordination.k8s.io/v1/leases";
    let written = h.update(path, "default/l", lease.clone()).await.expect("created");
    assert!(written.created);
    // Leases are not updated unconditionally.
    let refused = refusal(h.update(path, "default/l", lease).await);
    assert!(refused.starts_with("422 Invalid") && refused.contains("must be specified for an update"), "{refused}");
}

#[tokio::test]
async fn events_of_both_groups_are_one() {
    let h = Harness::new().await;
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "said",
        "reason": "R", "type": "Normal", "action": "A", "eventTime": "2027-01-15T08:00:00.000000Z",
        "reportingController": "c.example/x", "reportingInstance": "i",
    });
    h.create("events.k8s.io/v1/events", "default/", event).await.expect("created");
    let core = h.get("v1/events", "default/e").await.expect("there");
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("said")));
    assert_eq!(core["involvedObject"]["name"], "p");
    let served = h.get("events.k8s.io/v1/events", "default/e").await.expect("there");
    assert_eq!((&served["apiVersion"], &served["note"]), (&json!("events.k8s.io/v1"), &json!("said")));
}

#[tokio::test(start_paused = true)]
async fn events_end_after_an_hour() {
    let h = Harness::new().await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default", "name": "p", "kind": "Pod"}, "reason": "R", "type": "Normal"});
    h.create("v1/events", "default/", event).await.expect("created");
    tokio::time::sleep(std::time::Duration::from_secs(3500)).await;
    h.get("v1/events", "default/e").await.expect("there");
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert!(refusal(h.get("v1/events", "default/e").await).starts_with("404"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_increments_at_once_all_count() {
    let h = std::sync::Arc::new(Harness::new().await);
    h.create(MAPS, "default/", map("x")).await.expect("created");
    let mut tasks = Vec::new();
    for index in 0..100 {
        let h = h.clone();
        tasks.push(tokio::spawn(async move {
            if index % 2 == 0 {
                // A patch: the server tries again.
                let patch = json!({"data": {format!("k{index}"): "1"}});
                h.merge(MAPS, "default/x", patch).await.expect("patched");
                return;
            }
            // A read, changed and put back: the client tries again.
            loop {
                let mut object = (*h.get(MAPS, "default/x").await.expect("there")).clone();
                object["data"][format!("k{index}")] = "1".into();
                match h.update(MAPS, "default/x", object).await {
                    Ok(_) => return,
                    Err(error) => assert_eq!(error.code, 409, "{error}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let object = h.get(MAPS, "default/x").await.expect("there");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(101));
}

#[tokio::test]
async fn a_lost_answer_has_one_effect() {
    use store_api::StoreError;
    use store_api::mem::Fault;
    let h = Harness::new().await;
    h.store.inject(Fault::After(StoreError::Unknown("lost".to_owned())));
    let written = h.create(MAPS, "default/", map("x")).await.expect("created once");
    assert_eq!(h.get(MAPS, "default/x").await.expect("there"), written.object);
    h.store.inject(Fault::Before(StoreError::Unavailable("election".to_owned())));
    h.merge(MAPS, "default/x", json!({"data": {"a": "2"}})).await.expect("patched");
    assert_eq!(h.registry.store.applied_revision(), written.revision + 1);
}

#[tokio::test]
async fn a_leader_that_is_over_writes_nothing() {
    let h = Harness::new().await;
    let fence = store_api::Fence { key: "/leaders/x".into(), epoch: 7 };
    let info = RequestInfo { fence: Some(fence), ..Harness::info() };
    let refused = refusal(h.registry.create(&info, &target(MAPS, "default/"), Body::Value(map("x"))).await);
    assert!(refused.starts_with("409 Conflict: the write was refused: fenced"), "{refused}");
    assert!(refusal(h.get(MAPS, "default/x").await).starts_with("404"));
}

#[tokio::test]
async fn autoscalers_of_both_versions_are_one() {
    let h = Harness::new().await;
    let (v1, v2) = ("autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers");
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}}});
    let spec = json!({"scaleTargetRef": reference, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60});
    h.create(v1, "default/", json!({"metadata": {"name": "x"}, "spec": spec})).await.expect("created");
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    assert_eq!(h.get(v2, "default/x").await.expect("there")["spec"]["metrics"], json!([cpu]));
    h.merge(v2, "default/x", json!({"spec": {"metrics": [cpu, memory]}})).await.expect("patched");
    // A write through v1 keeps what v1 has no field for.
    h.merge(v1, "default/x", json!({"spec": {"targetCPUUtilizationPercentage": 50}})).await.expect("patched");
    let object = h.get(v2, "default/x").await.expect("there");
    assert_eq!(object["spec"]["metrics"][0], memory);
    assert_eq!(object["spec"]["metrics"][1]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(object["metadata"].get("annotations"), None);
}

/// What is sent in `autoscaling/v1` is checked before the stored version's defaults are there.
#[tokio::test]
async fn autoscalers_are_defaulted_when_they_are_read() {
    const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
    let h = Harness::new().await;
    let (v1, v2) = ("autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers");
    let body = |behavior: Value| {
        json!({"metadata": {"name": "x", "annotations": {BEHAVIOR: behavior.to_string()}}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5}})
    };
    let refused = refusal(h.create(v1, "default/", body(json!({"ScaleDown": {"Tolerance": "0.1"}}))).await);
    assert_eq!(
        refused,
        "422 Invalid: HorizontalPodAutoscaler.autoscaling \"x\" is invalid: spec.behavior.scaleDown.policies: \
         Required value: must specify at least one Policy"
    );
    let policies = json!([{"Type": "Percent", "Value": 10, "PeriodSeconds": 60}]);
    let made = h.create(v1, "default/", body(json!({"ScaleDown": {"Tolerance": "0.1", "Policies": policies}}))).await;
    let made = made.expect("created").object;
    let object = h.get(v2, "default/x").await.expect("there");
    assert_eq!(
        object["spec"]["behavior"],
        json!({"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
            "scaleDown": {"selectPolicy": "Max", "tolerance": "100m", "policies": [
                {"type": "Percent", "value": 10, "periodSeconds": 60}]}})
    );
    let text = made["metadata"]["annotations"][BEHAVIOR].as_str().expect("behavior");
    assert!(text.contains(r#""ScaleUp":{"StabilizationWindowSeconds":0,"#), "{text}");
    // What is read can be sent again, and is no change.
    let again = h.update(v1, "default/x", (*made).clone()).await.expect("updated");
    assert_eq!(object::resource_version(&again.object), object::resource_version(&made));
    // In `autoscaling/v2` there are no such annotations.
    let annotated = json!({"metadata": {"annotations": {BEHAVIOR: "{}",
        "autoscaling.alpha.kubernetes.io/scale-up-tolerance": "0.5"}}});
    let same = h.merge(v2, "default/x", annotated).await.expect("patched").object;
    assert_eq!((same["metadata"].get("annotations"), &same["spec"]), (None, &object["spec"]));
}

/// What is not stored counts all the same while it is there.
#[tokio::test]
async fn endpoint_slices_count_topology_and_drop_it() {
    let h = Harness::new().await;
    let slices = "discovery.k8s.io/v1/endpointslices";
    let body = |endpoint: Value| json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [endpoint]});
    let told = || json!({"addresses": ["10.0.0.1"], "deprecatedTopology": {"kubernetes.io/hostname": "n", "a": "b"}});
    let made = h.create(slices, "default/", body(told())).await.expect("created").object;
    let plain = json!([{"addresses": ["10.0.0.1"], "conditions": {}}]);
    assert_eq!((&made["endpoints"], &made["metadata"]["generation"]), (&plain, &json!(1)));
    for generation in [2, 3] {
        let written = h.update(slices, "default/s", body(told())).await.expect("updated").object;
        assert_eq!((&written["endpoints"], &written["metadata"]["generation"]), (&plain, &json!(generation)));
    }
    for (labels, generation) in [(json!({}), 3), (json!({"a": "b"}), 4), (json!({"a": "b"}), 4), (json!({"a": ""}), 5)]
    {
        let mut body = body(json!({"addresses": ["10.0.0.1"]}));
        body["metadata"]["labels"] = labels;
        let written = h.update(slices, "default/s", body).await.expect("updated").object;
        assert_eq!(written["metadata"]["generation"], generation);
    }
}

/// Empty lists that upstream tells from none: its validation and its counting see them, its store does not.
#[tokio::test]
async fn empty_lists_are_seen_but_not_stored() {
    let h = Harness::new().await;
    let policies = "networking.k8s.io/v1/networkpolicies";
    let policy = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
    let nobody = || json!({"podSelector": {}, "ingress": []});
    let made = h.create(policies, "default/", policy(nobody())).await.expect("created").object;
    assert_eq!(made["spec"], json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(!made["metadata"]["managedFields"].to_string().contains("f:ingress"));
    for (spec, generation) in [
        (nobody(), 2),
        (json!({"podSelector": {}}), 2),
        (json!({"podSelector": {}, "ingress": [{}]}), 3),
        (json!({"podSelector": {}, "ingress": [{"from": []}]}), 4),
        (json!({"podSelector": {}, "ingress": [{"ports": null}]}), 4),
    ] {
        let written = h.update(policies, "default/p", policy(spec)).await.expect("updated").object;
        assert_eq!(written["metadata"]["generation"], generation, "{}", written["spec"]);
        assert!(!written["spec"].to_string().contains("[]"), "{}", written["spec"]);
    }
    let pods = "v1/pods";
    let pod = |spec: Value| {
        let mut body = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"claims": [], "requests": {"cpu": "1"}}}]}});
        body["spec"].as_object_mut().expect("a spec").extend(spec.as_object().cloned().expect("fields"));
        body
    };
    let resources = json!({"resources": {"claims": [], "limits": {"cpu": "1"}}});
    assert_eq!(
        refusal(h.create(pods, "default/", pod(resources)).await),
        "422 Invalid: Pod \"p\" is invalid: spec.resources.claims: Forbidden: claims may not be set for Resources at \
         pod-level"
    );
    let spec = json!({"overhead": {}, "securityContext": {"supplementalGroups": []}});
    let made = h.create(pods, "default/", pod(spec)).await.expect("created").object;
    assert_eq!(made["spec"].get("overhead"), None);
    assert_eq!(made["spec"]["securityContext"], json!({}));
    assert_eq!(made["spec"]["containers"][0]["resources"], json!({"requests": {"cpu": "1"}}));
    assert!(!made["metadata"]["managedFields"].to_string().contains("f:claims"));
}

#[tokio::test]
async fn ephemeral_containers_and_resize_change_only_their_part() {
    let h = Harness::new().await;
    let pods = "v1/pods";
    let body = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}});
    let mut at_once = body.clone();
    at_once["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "i"}]);
    assert!(refusal(h.create(pods, "default/", at_once).await).contains("cannot be set on create"));
    h.create(pods, "default/", body).await.expect("created");
    let patch =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ephemeralContainers": [{"name": "debug", "image": "i"}]}});
    let debugged = h.merge(pods, "default/p#ephemeralcontainers", patch).await.expect("added");
    assert_eq!(debugged.object["spec"]["ephemeralContainers"][0]["name"], "debug");
    assert_eq!(debugged.object["metadata"].get("labels"), None);
    let gone = h.merge(pods, "default/p#ephemeralcontainers", json!({"spec": {"ephemeralContainers": null}})).await;
    assert!(refusal(gone).contains("may not be removed"));
    let resize = json!([
        {"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "200m"},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "other"},
    ]);
    let resized = h.json_patch(pods, "default/p#resize", resize).await.expect("resized");
    assert_eq!(resized.object["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");
    assert_eq!(resized.object["spec"]["containers"][0]["image"], "i");
}

#[tokio::test]
async fn approval_changes_conditions_only() {
    let h = Harness::new().await;
    let path = "certificates.k8s.io/v1/certificatesigningrequests";
    let kind = api_kinds::of(&api_machinery::GroupResource::new("certificates.k8s.io", "certificatesigningrequests"));
    let created = h.create(path, "", kind.sample()).await.expect("created");
    let name = object::name(&created.object);
    let mut approved = (*created.object).clone();
    approved["spec"]["signerName"] = "other.example/x".into();
    approved["status"] = json!({"certificate": "eA==", "conditions": [
        {"type": "Approved", "status": "True", "reason": "R", "message": "M"}]});
    let place = format!("{name}#approval");
    let written = h.update(path, &place, approved).await.expect("approved");
    assert_eq!(written.object["spec"], created.object["spec"]);
    assert_eq!(written.object["status"].get("certificate"), None);
    assert_eq!(written.object["status"]["conditions"][0]["lastUpdateTime"], "2027-01-15T08:00:00Z");
    let mut withdrawn = (*written.object).clone();
    withdrawn["status"]["conditions"] = json!([]);
    assert!(
        refusal(h.update(path, &place, withdrawn).await)
            .contains("updates may not remove a condition of type \"Approved\"")
    );
}
