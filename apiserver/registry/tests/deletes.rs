//! Delete: grace, finalizers, propagation, preconditions, namespaces, collections.

use std::sync::Arc;

use crate::common::{Harness, names, refusal, target};
use api_machinery::{Value, object};
use api_registry::{DeleteOptions, ListOptions, Notes, RequestInfo};
use serde_json::json;

const MAPS: &str = "v1/configmaps";
const PODS: &str = "v1/pods";

fn options(grace: Option<i64>, policy: Option<&str>) -> DeleteOptions {
    DeleteOptions {
        grace_period_seconds: grace,
        propagation_policy: policy.map(str::to_owned),
        ..DeleteOptions::default()
    }
}

fn map(finalizers: &[&str]) -> Value {
    json!({"metadata": {"name": "x", "finalizers": finalizers}})
}

async fn pod(h: &Harness, name: &str, node: Option<&str>) {
    let body = json!({"metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 40, "containers": [{"name": "c", "image": "i"}]}});
    h.create(PODS, "default/", body).await.expect("created");
    if let Some(node) = node {
        let binding = json!({"target": {"name": node}});
        h.create(PODS, &format!("default/{name}#binding"), binding).await.expect("bound");
    }
}

fn deletion(object: &Value) -> (Option<&str>, Option<i64>) {
    (object::deletion_timestamp(object), object["metadata"]["deletionGracePeriodSeconds"].as_i64())
}

#[tokio::test]
async fn plain_objects_go_at_once() {
    let h = Harness::new().await;
    let created = h.create(MAPS, "default/", map(&[])).await.expect("created");
    let gone = h.delete(MAPS, "default/x", DeleteOptions::default()).await.expect("deleted");
    let uid = object::uid(&created.object);
    let details = json!({"name": "x", "kind": "configmaps", "uid": uid});
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    assert_eq!(*gone.object, status);
    assert_eq!(gone.revision, created.revision + 1);
    assert!(refusal(h.delete(MAPS, "default/x", DeleteOptions::default()).await).starts_with("404"));
}

#[tokio::test]
async fn deletes_of_jobs_are_to_say_what_becomes_of_pods() {
    let h = Harness::new().await;
    let told = async |policy: Option<&str>| {
        let notes = Arc::new(Notes::default());
        let info = RequestInfo { notes: Some(notes.clone()), ..Harness::info() };
        let gone = h.registry.delete(&info, &target("batch/v1/jobs", "default/j"), options(None, policy)).await;
        assert_eq!(refusal(gone), "404 NotFound: jobs.batch \"j\" not found");
        notes.warnings().concat()
    };
    let warning = told(None).await;
    assert!(warning.starts_with("child pods are preserved by default when jobs are deleted; set "), "{warning}");
    assert!(warning.ends_with(" propagationPolicy=Orphan to suppress this warning"), "{warning}");
    for policy in ["Orphan", "Background", "Foreground"] {
        assert_eq!(told(Some(policy)).await, "", "{policy}");
    }
}

#[tokio::test]
async fn preconditions() {
    let h = Harness::new().await;
    let created = h.create(MAPS, "default/", map(&[])).await.expect("created");
    let uid = object::uid(&created.object).to_owned();
    let wrong = DeleteOptions { precondition_uid: Some("u".to_owned()), ..DeleteOptions::default() };
    let refused = refusal(h.delete(MAPS, "default/x", wrong).await);
    assert!(
        refused.contains(&format!("the UID in the precondition (u) does not match the UID in record ({uid})")),
        "{refused}"
    );
    assert!(refused.starts_with("409 Conflict: Operation cannot be fulfilled on ConfigMap \"x\": "), "{refused}");
    let wrong = DeleteOptions { precondition_resource_version: Some("9".to_owned()), ..DeleteOptions::default() };
    let refused = refusal(h.delete(MAPS, "default/x", wrong).await);
    assert!(refused.contains("the ResourceVersion in the precondition (9) does not match"), "{refused}");
    let bad = h.delete(MAPS, "default/x", options(None, Some("Sideways"))).await;
    assert!(refusal(bad).starts_with("422 Invalid"));
    let right = DeleteOptions { precondition_uid: Some(uid), ..DeleteOptions::default() };
    h.delete(MAPS, "default/x", right).await.expect("deleted");
    let created = h.create("v1/namespaces", "", json!({"metadata": {"name": "n"}})).await.expect("created");
    let (uid, version) = (object::uid(&created.object), object::resource_version(&created.object));
    let wrong = DeleteOptions { precondition_uid: Some("u".to_owned()), ..DeleteOptions::default() };
    let refused = refusal(h.delete("v1/namespaces", "n", wrong).await);
    let conflict = "409 Conflict: Operation cannot be fulfilled on namespaces \"n\": Precondition failed: ";
    assert_eq!(refused, format!("{conflict}UID in precondition: u, UID in object meta: {uid}"));
    let wrong = DeleteOptions { precondition_resource_version: Some("9999".to_owned()), ..DeleteOptions::default() };
    let refused = refusal(h.delete("v1/namespaces", "n", wrong).await);
    let found = format!("ResourceVersion in precondition: 9999, ResourceVersion in object meta: {version}");
    assert_eq!(refused, format!("{conflict}{found}"));
}

#[tokio::test]
async fn finalizers_hold_until_the_last_is_gone() {
    let h = Harness::new().await;
    h.create(MAPS, "default/", map(&["a.example/x", "a.example/y"])).await.expect("created");
    let marked = h.delete(MAPS, "default/x", DeleteOptions::default()).await.expect("marked");
    assert_eq!(deletion(&marked.object), (Some("2027-01-15T08:00:00Z"), Some(0)));
    let second = refusal(h.create(MAPS, "default/", map(&[])).await);
    assert_eq!(second, "409 AlreadyExists: object is being deleted: configmaps \"x\" already exists");
    h.clock.advance(5);
    let again = h.delete(MAPS, "default/x", DeleteOptions::default()).await.expect("still marked");
    assert_eq!(again.revision, marked.revision, "nothing is written a second time");
    let more = h.merge(MAPS, "default/x", json!({"metadata": {"finalizers": ["a.example/x", "b.example/z"]}})).await;
    let refused = refusal(more);
    assert!(refused.contains("no new finalizers can be added if the object is being deleted"), "{refused}");
    h.merge(MAPS, "default/x", json!({"metadata": {"finalizers": ["a.example/y"]}})).await.expect("one less");
    assert!(h.get(MAPS, "default/x").await.is_ok());
    let last = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    h.json_patch(MAPS, "default/x", last).await.expect("the last");
    assert!(refusal(h.get(MAPS, "default/x").await).starts_with("404"));
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    for (resource, policy, finalizers, expect) in [
        (MAPS, Some("Foreground"), vec![], Some(vec!["foregroundDeletion"])),
        (MAPS, Some("Orphan"), vec![], Some(vec!["orphan"])),
        (MAPS, Some("Background"), vec!["orphan"], None),
        (MAPS, Some("Background"), vec!["a.example/x"], Some(vec!["a.example/x"])),
        (MAPS, Some("Foreground"), vec!["a.example/x"], Some(vec!["a.example/x", "foregroundDeletion"])),
        (MAPS, None, vec!["orphan"], Some(vec!["orphan"])),
        (MAPS, None, vec![], None),
    ] {
        let h = Harness::new().await;
        h.create(resource, "default/", map(&finalizers)).await.expect("created");
        h.delete(resource, "default/x", options(None, policy)).await.expect("deleted");
        let left = h.get(resource, "default/x").await.ok();
        let left = left.as_deref().map(object::finalizers);
        assert_eq!(left, expect, "{policy:?} {finalizers:?}");
    }
}

/// Who changes their mind says so with another delete.
#[tokio::test]
async fn a_second_delete_changes_the_propagation() {
    let h = Harness::new().await;
    h.create(MAPS, "default/", map(&["a.example/x"])).await.expect("created");
    for (policy, expect) in [
        ("Orphan", vec!["a.example/x", "orphan"]),
        ("Foreground", vec!["a.example/x", "foregroundDeletion"]),
        ("Background", vec!["a.example/x"]),
        ("Foreground", vec!["a.example/x", "foregroundDeletion"]),
    ] {
        let marked = h.delete(MAPS, "default/x", options(None, Some(policy))).await.expect("marked");
        assert_eq!(object::finalizers(&marked.object), expect, "{policy}");
        assert_eq!(object::finalizers(&h.get(MAPS, "default/x").await.expect("held")), expect, "{policy}");
    }
    h.merge(MAPS, "default/x", json!({"metadata": {"finalizers": ["foregroundDeletion"]}})).await.expect("patched");
    h.delete(MAPS, "default/x", options(None, Some("Background"))).await.expect("deleted");
    assert!(refusal(h.get(MAPS, "default/x").await).starts_with("404"), "nothing holds it any more");
}

#[tokio::test]
async fn pods_end_gracefully() {
    let h = Harness::new().await;
    pod(&h, "p", Some("n")).await;
    let before = h.get(PODS, "default/p").await.expect("there");
    let marked = h.delete(PODS, "default/p", DeleteOptions::default()).await.expect("marked");
    assert_eq!(deletion(&marked.object), (Some("2027-01-15T08:00:40Z"), Some(40)));
    assert_eq!(object::generation(&marked.object), object::generation(&before) + 1);
    // Not longer, and not again.
    let longer = h.delete(PODS, "default/p", options(Some(60), None)).await.expect("pending");
    assert_eq!(longer.revision, marked.revision);
    let shorter = h.delete(PODS, "default/p", options(Some(10), None)).await.expect("shortened");
    assert_eq!(deletion(&shorter.object), (Some("2027-01-15T08:00:10Z"), Some(10)));
    // The kubelet is done.
    let gone = h.delete(PODS, "default/p", options(Some(0), None)).await.expect("deleted");
    assert_eq!(gone.object["kind"], "Pod", "a deleted pod is answered itself");
    assert_eq!(deletion(&gone.object), (Some("2027-01-15T08:00:00Z"), Some(0)), "as it was in the end");
    assert!(refusal(h.get(PODS, "default/p").await).starts_with("404"));
    // It does not end before now.
    pod(&h, "q", Some("n")).await;
    h.delete(PODS, "default/q", DeleteOptions::default()).await.expect("marked");
    h.clock.advance(30);
    let shorter = h.delete(PODS, "default/q", options(Some(10), None)).await.expect("shortened");
    assert_eq!(deletion(&shorter.object), (Some("2027-01-15T08:00:30Z"), Some(1)));
}

#[tokio::test]
async fn pods_nobody_runs_go_at_once() {
    let h = Harness::new().await;
    pod(&h, "unbound", None).await;
    h.delete(PODS, "default/unbound", options(Some(30), None)).await.expect("deleted");
    assert!(refusal(h.get(PODS, "default/unbound").await).starts_with("404"));
    pod(&h, "over", Some("n")).await;
    h.merge(PODS, "default/over#status", json!({"status": {"phase": "Succeeded"}})).await.expect("over");
    h.delete(PODS, "default/over", options(Some(30), None)).await.expect("deleted");
    assert!(refusal(h.get(PODS, "default/over").await).starts_with("404"));
}

#[tokio::test]
async fn namespaces_end_when_their_content_has() {
    let h = Harness::new().await;
    h.create("v1/namespaces", "", json!({"metadata": {"name": "ns"}})).await.expect("created");
    let marked = h.delete("v1/namespaces", "ns", DeleteOptions::default()).await.expect("marked");
    assert_eq!(marked.object["status"]["phase"], "Terminating");
    assert_eq!(marked.object["spec"]["finalizers"], json!(["kubernetes"]));
    h.delete("v1/namespaces", "ns", DeleteOptions::default()).await.expect("still there");
    let mut done = (*h.get("v1/namespaces", "ns").await.expect("there")).clone();
    done["spec"]["finalizers"] = json!([]);
    h.update("v1/namespaces", "ns#finalize", done).await.expect("finalized");
    assert!(refusal(h.get("v1/namespaces", "ns").await).starts_with("404"));
}

#[tokio::test]
async fn collections() {
    let h = Harness::new().await;
    for index in 0..40 {
        let color = if index % 2 == 0 { "red" } else { "blue" };
        let body = json!({"metadata": {"name": format!("m{index}"), "labels": {"color": color}}});
        h.create(MAPS, "default/", body).await.expect("created");
    }
    let red = ListOptions {
        label_selector: api_machinery::labels::Selector::parse("color=red").expect("a selector"),
        ..ListOptions::default()
    };
    let at = target(MAPS, "default/");
    let gone = h.registry.delete_collection(&Harness::info(), &at, red, DeleteOptions::default()).await;
    assert_eq!(gone.expect("deleted").objects.len(), 20);
    let left = h.list(MAPS, "", ListOptions::default()).await.expect("listed");
    assert_eq!((left.objects.len(), names(&left).contains(&"m1".to_owned())), (20, true));
}
