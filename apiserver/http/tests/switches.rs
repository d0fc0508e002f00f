//! What `--runtime-config` switches, seen by clients: every early version works like the one it is of, says when it is
//! deprecated, and what is off is nowhere.

use api_machinery::{Value, object};
use api_schema::Resource;
use serde_json::json;

use crate::common::{Answer, Running};

/// What resources of early versions hang on.
const GATES: &str = "ClusterTrustBundle=true,GenericWorkload=true,StorageVersionMigrator=true";
const JSON: (&str, &str) = ("content-type", "application/json");
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

fn path(resource: &Resource) -> String {
    let namespace = if resource.namespaced { "namespaces/default/" } else { "" };
    let prefix = if resource.gv.group.is_empty() { "api" } else { "apis" };
    format!("/{prefix}/{}/{namespace}{}", resource.gv, resource.plural)
}

/// Another name of the same form.
fn another(resource: &Resource, name: &str) -> String {
    if resource.plural == "ipaddresses" { "10.96.0.78".to_owned() } else { format!("{name}b") }
}

/// What a client would write anew.
fn bare(mut object: Value, name: &str) -> Value {
    object["metadata"] = json!({"name": name});
    object.as_object_mut().expect("an object").remove("status");
    object
}

/// Whether an answer warns of a kind as the facts say.
fn warns(resource: &Resource, answer: &Answer, what: &str) {
    let is_deprecated = resource.deprecation.is_some();
    let warned = answer.header("warning");
    let text = format!("299 - \"{} {} is deprecated in v1.", resource.gv, resource.kind);
    assert_eq!(warned.starts_with(&text), is_deprecated, "{what} of {} {}: {warned}", resource.gv, resource.kind);
}

async fn as_it_is_served(server: &Running, resource: &Resource, wanted: &Value, name: &str) {
    let (admin, schema) = (&server.admin, server.registry.schema);
    let (base, what) = (path(resource), format!("{} {}", resource.gv, resource.plural));
    let shown = admin.get(&format!("{base}/{name}")).await;
    warns(resource, &shown, "a read");
    let shown = shown.json();
    let named = |object: &Value| format!("{} {}", object::str_at(object, "apiVersion"), object::str_at(object, "kind"));
    assert_eq!(named(&shown), format!("{} {}", resource.gv, resource.kind));
    let list = admin.get(&base).await;
    warns(resource, &list, "a list");
    assert_eq!(named(&list.json()), format!("{} {}List", resource.gv, resource.kind));
    assert_eq!(list.json()["items"].as_array().map(Vec::len), Some(1), "{what}");
    let table = admin.with(&base, &[TABLE]).await.json();
    let columns = table["columnDefinitions"].as_array().map(Vec::len);
    assert_eq!(table["rows"][0]["cells"].as_array().map(Vec::len), columns, "{what}: {table}");
    let watched = admin.get(&format!("{base}?watch=1&resourceVersion=0&timeoutSeconds=1")).await.text();
    let first: Value = serde_json::from_str(watched.lines().next().expect("an event")).expect("JSON");
    assert_eq!(named(&first["object"]), named(&shown), "{what}");
    assert_eq!(first["object"]["spec"], shown["spec"], "{what}");

    // The same object anew, by this version: read through the other it says the same.
    let other = another(resource, name);
    let body = bare(shown, &other);
    let made = admin.send(true, "POST", &base, &[JSON], body.to_string()).await;
    assert_eq!(made.code, 201, "{what}: {}", made.status());
    warns(resource, &made, "a create");
    let hub = schema.hub(&resource.storage).expect("it is worked with");
    let seen = admin.get(&format!("{}/{other}", path(hub))).await.json();
    assert_eq!(without_times(seen["spec"].clone()), without_times(wanted["spec"].clone()), "{what}");
    // Who says nothing of an object's fields manages none.
    if seen["spec"] != json!({}) {
        assert_eq!(seen["metadata"]["managedFields"][0]["apiVersion"], resource.gv.to_string(), "{what}");
    }
    let applied =
        admin.send(true, "PATCH", &format!("{base}/{other}?fieldManager=m"), &[APPLY], body.to_string()).await;
    assert_eq!(applied.code, 200, "{what}: {}", applied.status());
    assert_eq!(named(&applied.json()), named(&body), "{what}");
    let deleted = admin.send(true, "DELETE", &format!("{base}/{other}"), &[], "").await;
    assert_eq!(deleted.code, 200, "{what}: {}", deleted.status());
}

/// Taints say since when.
fn without_times(mut spec: Value) -> Value {
    if let Some(taint) = spec.get_mut("taint").and_then(Value::as_object_mut) {
        taint.remove("timeAdded");
    }
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_versions_work_like_the_ones_they_are_of() {
    let server = Running::featuring("api/all=true", GATES).await;
    let (admin, schema) = (&server.admin, server.registry.schema);
    let mut served = 0;
    for kind in api_kinds::all() {
        let of = kind.resource();
        let versions: Vec<&Resource> = schema.resources().iter().filter(|one| one.group_resource() == of).collect();
        if !versions.iter().any(|one| one.gv.version.len() > 2) {
            continue;
        }
        let hub = schema.hub(&of).expect("it is worked with");
        let sample = kind.sample();
        let made = admin.post(&path(hub), &sample).await;
        assert_eq!(made.code, 201, "{} {}: {}", hub.gv, hub.plural, made.status());
        for version in versions {
            as_it_is_served(&server, version, &made.json(), object::name(&sample)).await;
            served += 1;
        }
    }
    println!("{served} versions of kinds that are served early");
    assert_eq!(served, 26 + 9);
}

/// Discovery and OpenAPI have what is served and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_have_what_is_served() {
    let server = Running::featuring("api/all=true", GATES).await;
    let mut documents = 0;
    for group in server.registry.schema.groups().iter().filter(|group| !group.name.is_empty()) {
        for version in &group.versions {
            let at = format!("apis/{}/{version}", group.name);
            let list = server.admin.get(&format!("/{at}")).await;
            let document = server.admin.get(&format!("/openapi/v3/{at}")).await;
            assert_eq!((list.code, document.code), (200, 200), "{at}");
            let names = list.json()["resources"].as_array().expect("resources").len();
            assert!(
                names > 0 && document.json()["paths"].as_object().is_some_and(|paths| paths.len() >= names),
                "{at}"
            );
            documents += 1;
        }
    }
    println!("{documents} versions are described");
    assert_eq!(documents, 35);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_off_is_nowhere() {
    let off =
        "apps/v1=false,batch/v1/jobs=false,/v1/secrets=false,networking.k8s.io/v1=false,networking.k8s.io/v1beta1";
    let server = Running::serving(off).await;
    let admin = &server.admin;
    for target in [
        "/apis/apps",
        "/apis/apps/v1",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/namespaces/default/deployments/x/scale",
        "/openapi/v3/apis/apps/v1",
        "/openapi/v3/apis/networking.k8s.io/v1",
        "/apis/batch/v1/jobs",
        "/apis/batch/v1/namespaces/default/jobs/x/status",
        "/api/v1/secrets",
        "/apis/networking.k8s.io/v1/ingresses",
    ] {
        assert_eq!(admin.get(target).await.code, 404, "{target}");
    }
    let created = admin.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await;
    assert_eq!(created.code, 404, "{}", created.status());
    for target in ["/apis/batch/v1/cronjobs", "/api/v1/configmaps", "/apis/networking.k8s.io/v1beta1/ipaddresses"] {
        assert_eq!(admin.get(target).await.code, 200, "{target}");
    }
    let aggregated = ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let groups = admin.with("/apis", &[aggregated]).await.text();
    assert!(!groups.contains("\"deployments\"") && !groups.contains("\"jobs\"") && groups.contains("\"cronjobs\""));
    let openapi = admin.get("/openapi/v2").await.text();
    assert!(
        !openapi.contains("/apis/apps/v1/") && !openapi.contains("/api/v1/secrets") && openapi.contains("/api/v1/pods")
    );
    let networking = admin.get("/apis/networking.k8s.io").await.json();
    assert_eq!(networking["preferredVersion"]["version"], "v1beta1");

    // An address that only its early version serves has the rules and the storage of the stable one.
    let address = json!({"metadata": {"name": "10.96.0.9"}, "spec": {}});
    let refused = admin.post("/apis/networking.k8s.io/v1beta1/ipaddresses", &address).await;
    assert_eq!(refused.code, 422, "{}", refused.status());
    let address =
        json!({"metadata": {"name": "10.96.0.9"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}});
    let made = admin.post("/apis/networking.k8s.io/v1beta1/ipaddresses", &address).await;
    assert_eq!(made.code, 201, "{}", made.status());
    assert_eq!(made.json()["apiVersion"], "networking.k8s.io/v1beta1");
}
