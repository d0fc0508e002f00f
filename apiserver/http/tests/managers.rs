//! `managedFields` of those who write a part of an object through its own path: their entries name the subresource, and
//! what they write is theirs and nobody else's.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::common::Running;

const PODS: &str = "/api/v1/namespaces/default/pods";
const NAMESPACES: &str = "/api/v1/namespaces";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Paths of a field set, the deepest ones.
fn paths(fields: &Value, at: &str, out: &mut String) {
    let Some(map) = fields.as_object().filter(|map| !map.is_empty()) else {
        writeln!(out, "  {}", at.trim_start()).expect("text");
        return;
    };
    map.iter().for_each(|(name, inside)| paths(inside, &format!("{at} {name}"), out));
}

/// Every manager with its subresource and what it manages, by name: they lie by the second in which they wrote.
async fn managed(server: &Running, path: &str, wanted: Expect) {
    let object = server.admin.get(path).await.json();
    let mut entries = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().expect("managers") {
        let text = |field: &str| entry[field].as_str().unwrap_or("-");
        let [manager, operation, version, part] = ["manager", "operation", "apiVersion", "subresource"].map(text);
        let mut out = format!("{manager} {operation} {version} {part}\n");
        assert_eq!(entry["fieldsType"], "FieldsV1");
        paths(&entry["fieldsV1"], "", &mut out);
        entries.push(out);
    }
    entries.sort();
    wanted.assert_eq(&entries.concat());
}

/// A write by a manager; the code with what is said of a refusal.
async fn write(server: &Running, method: &str, path: &str, manager: &str, kind: &str, body: &Value) -> String {
    let and = if path.contains('?') { '&' } else { '?' };
    let target = format!("{path}{and}fieldManager={manager}");
    let answer = server.admin.send(true, method, &target, &[("content-type", kind)], body.to_string()).await;
    if answer.code < 300 { answer.code.to_string() } else { answer.status() }
}

fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn cpu(amount: &str) -> Value {
    pod(&json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]}))
}

async fn with_a_pod() -> Running {
    let server = Running::start().await;
    let resources = json!({"requests": {"cpu": "100m", "memory": "1Mi"}});
    let made = pod(&json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}));
    assert_eq!(write(&server, "POST", PODS, "maker", JSON, &made).await, "201");
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_resize() {
    let server = with_a_pod().await;
    let path = format!("{PODS}/p");
    let resize = format!("{path}/resize");
    assert_eq!(write(&server, "PATCH", &resize, "resizer", STRATEGIC, &cpu("200m")).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        maker Update v1 -
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:image
          f:spec f:containers k:{"name":"c"} f:imagePullPolicy
          f:spec f:containers k:{"name":"c"} f:name
          f:spec f:containers k:{"name":"c"} f:resources .
          f:spec f:containers k:{"name":"c"} f:resources f:requests .
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:memory
          f:spec f:containers k:{"name":"c"} f:terminationMessagePath
          f:spec f:containers k:{"name":"c"} f:terminationMessagePolicy
          f:spec f:dnsPolicy
          f:spec f:enableServiceLinks
          f:spec f:restartPolicy
          f:spec f:schedulerName
          f:spec f:securityContext
          f:spec f:terminationGracePeriodSeconds
        resizer Update v1 resize
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:cpu
    "#]],
    )
    .await;
    assert_eq!(
        write(&server, "PATCH", &resize, "applier", APPLY, &cpu("300m")).await,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"resizer\" with subresource \"resize\" using v1: \
         .spec.containers[name=\"c\"].resources.requests.cpu"
    );
    let forced = format!("{resize}?force=true");
    assert_eq!(write(&server, "PATCH", &forced, "applier", APPLY, &cpu("300m")).await, "200");
    // The same manager is another one through another path.
    let label = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}});
    assert_eq!(write(&server, "PATCH", &path, "applier", APPLY, &label).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        applier Apply v1 -
          f:metadata f:labels f:a
        applier Apply v1 resize
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:name
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:cpu
        maker Update v1 -
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:image
          f:spec f:containers k:{"name":"c"} f:imagePullPolicy
          f:spec f:containers k:{"name":"c"} f:name
          f:spec f:containers k:{"name":"c"} f:resources .
          f:spec f:containers k:{"name":"c"} f:resources f:requests .
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:memory
          f:spec f:containers k:{"name":"c"} f:terminationMessagePath
          f:spec f:containers k:{"name":"c"} f:terminationMessagePolicy
          f:spec f:dnsPolicy
          f:spec f:enableServiceLinks
          f:spec f:restartPolicy
          f:spec f:schedulerName
          f:spec f:securityContext
          f:spec f:terminationGracePeriodSeconds
    "#]],
    )
    .await;
    let mut whole = server.admin.get(&path).await.json();
    whole["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "400m".into();
    assert_eq!(write(&server, "PUT", &resize, "putter", JSON, &whole).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        applier Apply v1 -
          f:metadata f:labels f:a
        applier Apply v1 resize
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:name
        maker Update v1 -
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:image
          f:spec f:containers k:{"name":"c"} f:imagePullPolicy
          f:spec f:containers k:{"name":"c"} f:name
          f:spec f:containers k:{"name":"c"} f:resources .
          f:spec f:containers k:{"name":"c"} f:resources f:requests .
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:memory
          f:spec f:containers k:{"name":"c"} f:terminationMessagePath
          f:spec f:containers k:{"name":"c"} f:terminationMessagePolicy
          f:spec f:dnsPolicy
          f:spec f:enableServiceLinks
          f:spec f:restartPolicy
          f:spec f:schedulerName
          f:spec f:securityContext
          f:spec f:terminationGracePeriodSeconds
        putter Update v1 resize
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:cpu
    "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ephemeral_containers_and_a_status() {
    let server = with_a_pod().await;
    let path = format!("{PODS}/p");
    let part = format!("{path}/ephemeralcontainers");
    let debug = |name: &str| pod(&json!({"ephemeralContainers": [{"name": name, "image": "i"}]}));
    assert_eq!(write(&server, "PATCH", &part, "debugger", STRATEGIC, &debug("one")).await, "200");
    assert_eq!(write(&server, "PATCH", &part, "applier", APPLY, &debug("two")).await, "200");
    let status = |phase: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "ignored"},
            "status": {"phase": phase}})
    };
    let of_status = format!("{path}/status");
    assert_eq!(
        write(&server, "PATCH", &of_status, "kubelet", MERGE, &json!({"status": {"phase": "Running"}})).await,
        "200"
    );
    assert_eq!(
        write(&server, "PATCH", &of_status, "applier", APPLY, &status("Failed")).await,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"kubelet\" with subresource \"status\" using v1: \
         .status.phase"
    );
    assert_eq!(write(&server, "PATCH", &of_status, "applier", APPLY, &status("Running")).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        applier Apply v1 ephemeralcontainers
          f:spec f:ephemeralContainers k:{"name":"two"} .
          f:spec f:ephemeralContainers k:{"name":"two"} f:image
          f:spec f:ephemeralContainers k:{"name":"two"} f:name
        applier Apply v1 status
          f:status f:phase
        debugger Update v1 ephemeralcontainers
          f:spec f:ephemeralContainers .
          f:spec f:ephemeralContainers k:{"name":"one"} .
          f:spec f:ephemeralContainers k:{"name":"one"} f:image
          f:spec f:ephemeralContainers k:{"name":"one"} f:imagePullPolicy
          f:spec f:ephemeralContainers k:{"name":"one"} f:name
          f:spec f:ephemeralContainers k:{"name":"one"} f:resources
          f:spec f:ephemeralContainers k:{"name":"one"} f:terminationMessagePath
          f:spec f:ephemeralContainers k:{"name":"one"} f:terminationMessagePolicy
        kubelet Update v1 status
          f:status f:phase
        maker Update v1 -
          f:spec f:containers k:{"name":"c"} .
          f:spec f:containers k:{"name":"c"} f:image
          f:spec f:containers k:{"name":"c"} f:imagePullPolicy
          f:spec f:containers k:{"name":"c"} f:name
          f:spec f:containers k:{"name":"c"} f:resources .
          f:spec f:containers k:{"name":"c"} f:resources f:requests .
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:cpu
          f:spec f:containers k:{"name":"c"} f:resources f:requests f:memory
          f:spec f:containers k:{"name":"c"} f:terminationMessagePath
          f:spec f:containers k:{"name":"c"} f:terminationMessagePolicy
          f:spec f:dnsPolicy
          f:spec f:enableServiceLinks
          f:spec f:restartPolicy
          f:spec f:schedulerName
          f:spec f:securityContext
          f:spec f:terminationGracePeriodSeconds
    "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_finalizing() {
    let server = Running::start().await;
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    assert_eq!(write(&server, "POST", NAMESPACES, "maker", JSON, &made).await, "201");
    let path = format!("{NAMESPACES}/n");
    let mut whole = server.admin.get(&path).await.json();
    whole["spec"]["finalizers"] = json!(["kubernetes", "example.com/wait"]);
    whole["status"]["phase"] = "Terminating".into();
    assert_eq!(write(&server, "PUT", &format!("{path}/finalize"), "controller", JSON, &whole).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        controller Update v1 finalize
          f:spec f:finalizers
        maker Update v1 -
          f:metadata f:labels .
          f:metadata f:labels f:kubernetes.io/metadata.name
    "#]],
    )
    .await;
    assert_eq!(server.admin.get(&path).await.json()["status"]["phase"], "Active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_approving_and_signing() {
    let server = Running::start().await;
    let requests = api_machinery::GroupResource::new("certificates.k8s.io", "certificatesigningrequests");
    let mut made = api_kinds::of(&requests).sample();
    // Its spec and status are reset when it is made, and what is managed by nobody is managed by none who updates it.
    made["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(write(&server, "POST", REQUESTS, "maker", JSON, &made).await, "201");
    let path = format!("{REQUESTS}/x");
    let mut whole = server.admin.get(&path).await.json();
    let approved = json!([{"type": "Approved", "status": "True", "reason": "Asked", "message": "yes"}]);
    whole["status"]["conditions"] = approved.clone();
    whole["spec"]["signerName"] = "example.com/ignored".into();
    assert_eq!(write(&server, "PUT", &format!("{path}/approval"), "approver", JSON, &whole).await, "200");
    let head = |status: Value| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "x"},
            "status": status})
    };
    let of_approval = format!("{path}/approval");
    assert_eq!(
        write(&server, "PATCH", &of_approval, "applier", APPLY, &head(json!({"conditions": approved}))).await,
        "200"
    );
    let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Broken", "message": "no"}]});
    assert_eq!(write(&server, "PATCH", &format!("{path}/status"), "signer", APPLY, &head(failed)).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        applier Apply certificates.k8s.io/v1 approval
          f:status f:conditions k:{"type":"Approved"} .
          f:status f:conditions k:{"type":"Approved"} f:message
          f:status f:conditions k:{"type":"Approved"} f:reason
          f:status f:conditions k:{"type":"Approved"} f:status
          f:status f:conditions k:{"type":"Approved"} f:type
        approver Update certificates.k8s.io/v1 approval
          f:status f:conditions .
          f:status f:conditions k:{"type":"Approved"} .
          f:status f:conditions k:{"type":"Approved"} f:lastTransitionTime
          f:status f:conditions k:{"type":"Approved"} f:lastUpdateTime
          f:status f:conditions k:{"type":"Approved"} f:message
          f:status f:conditions k:{"type":"Approved"} f:reason
          f:status f:conditions k:{"type":"Approved"} f:status
          f:status f:conditions k:{"type":"Approved"} f:type
        maker Update certificates.k8s.io/v1 -
          f:metadata f:labels .
          f:metadata f:labels f:a
    "#]],
    )
    .await;
}

/// Who stands for all before the first apply has written through the same part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_nobody_managed() {
    let server = Running::start().await;
    let requests = api_machinery::GroupResource::new("certificates.k8s.io", "certificatesigningrequests");
    let made = api_kinds::of(&requests).sample();
    assert_eq!(write(&server, "POST", REQUESTS, "maker", JSON, &made).await, "201");
    let path = format!("{REQUESTS}/x");
    let approved = json!([{"type": "Approved", "status": "True", "reason": "Asked", "message": "yes"}]);
    let merge = json!({"status": {"conditions": approved}});
    assert_eq!(write(&server, "PATCH", &format!("{path}/approval"), "approver", MERGE, &merge).await, "200");
    let applied = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "x"}, "status": {"conditions": approved}});
    assert_eq!(write(&server, "PATCH", &format!("{path}/approval"), "applier", APPLY, &applied).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        applier Apply certificates.k8s.io/v1 approval
          f:status f:conditions k:{"type":"Approved"} .
          f:status f:conditions k:{"type":"Approved"} f:message
          f:status f:conditions k:{"type":"Approved"} f:reason
          f:status f:conditions k:{"type":"Approved"} f:status
          f:status f:conditions k:{"type":"Approved"} f:type
        before-first-apply Update certificates.k8s.io/v1 approval
          f:status f:conditions .
          f:status f:conditions k:{"type":"Approved"} .
          f:status f:conditions k:{"type":"Approved"} f:lastTransitionTime
          f:status f:conditions k:{"type":"Approved"} f:lastUpdateTime
          f:status f:conditions k:{"type":"Approved"} f:message
          f:status f:conditions k:{"type":"Approved"} f:reason
          f:status f:conditions k:{"type":"Approved"} f:status
          f:status f:conditions k:{"type":"Approved"} f:type
    "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_scaling() {
    let server = Running::start().await;
    let deployment = |replicas: i64| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let path = format!("{DEPLOYMENTS}/d");
    assert_eq!(write(&server, "PATCH", &path, "maker", APPLY, &deployment(1)).await, "201");
    let scale = format!("{path}/scale");
    let mut whole = server.admin.get(&scale).await.json();
    whole["spec"]["replicas"] = 2.into();
    assert_eq!(write(&server, "PUT", &scale, "scaler", JSON, &whole).await, "200");
    assert_eq!(
        write(&server, "PATCH", &path, "maker", APPLY, &deployment(3)).await,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using \
         apps/v1: .spec.replicas"
    );
    let applied = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"},
        "spec": {"replicas": 2}});
    assert_eq!(write(&server, "PATCH", &scale, "applier", APPLY, &applied).await, "200");
    assert_eq!(write(&server, "PATCH", &scale, "merger", MERGE, &json!({"spec": {"replicas": 4}})).await, "200");
    managed(
        &server,
        &path,
        expect![[r#"
        maker Apply apps/v1 -
          f:spec f:selector
          f:spec f:template f:metadata f:labels f:a
          f:spec f:template f:spec f:containers k:{"name":"c"} .
          f:spec f:template f:spec f:containers k:{"name":"c"} f:image
          f:spec f:template f:spec f:containers k:{"name":"c"} f:name
        merger Update apps/v1 scale
          f:spec f:replicas
    "#]],
    )
    .await;
}
