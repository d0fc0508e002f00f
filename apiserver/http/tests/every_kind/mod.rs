//! Every built-in kind over HTTP: made, read, listed, watched and deleted in protobuf as in JSON, as Table and as
//! PartialObjectMetadata, and selected by each of its fields.

mod forms;
mod selectors;
mod session;
mod watches;

use api_admission::Chain;
use api_machinery::{Value, object};
use api_schema::{Resource, Schema};
use expect_test::expect;
use serde_json::json;

use crate::common::Running;
use forms::Columns;
use session::{JSON, PROTOBUF, Session, packed, read};

/// Every object made here has it, and nothing else.
const LABEL: &str = "labelSelector=every%3Dkind";

/// A resource in one of its versions, and what is made to read it.
struct Case {
    resource: &'static Resource,
    /// Paths of the resource, of the object, and of the same object in the version its sample is in.
    collection: String,
    path: String,
    made_at: String,
    sample: Value,
}

impl Case {
    fn of(resource: &'static Resource) -> Self {
        let mut sample = api_kinds::of(&resource.group_resource()).sample();
        let api_version = object::str_at(&sample, "apiVersion").to_owned();
        let collection = |api_version: &str| {
            let root = if resource.gv.group.is_empty() { "/api" } else { "/apis" };
            let inside = if resource.namespaced { "/namespaces/default" } else { "" };
            format!("{root}/{api_version}{inside}/{}", resource.plural)
        };
        sample["metadata"]["labels"]["every"] = "kind".into();
        selectors::fill(resource, &mut sample);
        let own = collection(&resource.gv.to_string());
        let path = format!("{own}/{}", object::name(&sample));
        Self { resource, collection: own, path, made_at: collection(&api_version), sample }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.resource.gv, self.resource.plural)
    }

    /// The object as it may be sent again, in this version.
    fn again(&self, served: &Value) -> Value {
        let mut body = served.clone();
        let metadata = object::meta_mut(&mut body);
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
            metadata.remove(field);
        }
        body
    }
}

/// What is not as it should be, and how much was looked at.
#[derive(Default)]
struct Findings {
    wrong: Vec<String>,
    compared: usize,
    columns: usize,
    selectors: usize,
    /// Of those, with a value that is not empty.
    valued: usize,
}

impl Findings {
    /// Nulls are as good as nothing: Go writes some in JSON, and protobuf has none.
    fn same(&mut self, what: &str, found: &Value, wanted: &Value) {
        self.compared += 1;
        let (found, wanted) = (without_nulls(found), without_nulls(wanted));
        if found != wanted {
            self.wrong.push(format!("{what}: {found} is not {wanted}"));
        }
    }

    fn holds(&mut self, what: &str, is: bool) {
        self.compared += 1;
        if !is {
            self.wrong.push(what.to_owned());
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        leaf => leaf.clone(),
    }
}

/// What differs between an object and the same one made again.
fn without_chance(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"] {
        object::meta_mut(&mut object).remove(field);
    }
    for (list, time) in [("/metadata/managedFields", "time"), ("/status/conditions", "lastTransitionTime")] {
        for entry in object.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            entry[time] = Value::Null;
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.entry("lastPhaseTransitionTime").and_modify(|time| *time = Value::Null);
    }
    let of_job = object["kind"] == "Job";
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // Addresses, and what a Job finds its pods by, which has its uid.
        spec.retain(|name, _| !matches!(name.as_str(), "clusterIP" | "clusterIPs"));
        spec.retain(|name, _| !(of_job && matches!(name.as_str(), "selector" | "template")));
    }
    object
}

async fn made(session: &Session<'_>, case: &Case, findings: &mut Findings) -> Option<Value> {
    let answer = session.send("POST", &case.made_at, &[("content-type", JSON)], case.sample.to_string()).await;
    if answer.code != 201 {
        findings.wrong.push(format!("{}: {}", case.name(), answer.status()));
        return None;
    }
    if let Some(status) = selectors::status(case.resource) {
        let target = format!("{}/status", case.path);
        let merge = [("content-type", "application/merge-patch+json")];
        let answer = session.send("PATCH", &target, &merge, status.to_string()).await;
        findings.holds(&format!("{} status: {}", case.name(), answer.text()), answer.code == 200);
    }
    Some(session.get(&case.path, JSON).await.json())
}

/// Deletes for good; the answer.
async fn deleted(session: &Session<'_>, case: &Case, kind: &str, findings: &mut Findings) -> Value {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "propagationPolicy": "Background"});
    let body = if kind == PROTOBUF { packed(&options) } else { options.to_string().into() };
    let answer = session.send("DELETE", &case.path, &[("content-type", kind), ("accept", kind)], body).await;
    findings.holds(&format!("{} deleted: {}", case.name(), answer.status()), answer.code == 200);
    if case.resource.plural == "namespaces" {
        let mut left = session.get(&case.path, JSON).await.json();
        left["spec"]["finalizers"] = json!([]);
        let json = [("content-type", JSON)];
        session.send("PUT", &format!("{}/finalize", case.path), &json, left.to_string()).await;
    }
    findings.holds(&format!("{} is gone", case.name()), session.get(&case.path, JSON).await.code == 404);
    read(&answer)
}

/// Made in JSON and deleted in JSON, then both in protobuf: the same comes of it.
async fn twice(session: &Session<'_>, case: &Case, columns: Option<&Columns>, findings: &mut Findings) {
    let name = case.name();
    let Some(first) = made(session, case, findings).await else { return };
    let gone_in_json = deleted(session, case, JSON, findings).await;

    let own = case.made_at == case.collection;
    let body = if own { case.sample.clone() } else { case.again(&first) };
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let answer = session.send("POST", &case.collection, &headers, packed(&body)).await;
    findings.holds(&format!("{name} in protobuf: {}", answer.text()), answer.code == 201);
    if answer.code != 201 {
        return;
    }
    let mut served = session.get(&case.path, JSON).await.json();
    findings.same(&format!("{name} made in protobuf"), &read(&answer), &served);
    if selectors::status(case.resource).is_some() {
        let target = format!("{}?gracePeriodSeconds=0&propagationPolicy=Background", case.path);
        session.send("DELETE", &target, &[], "").await;
        let Some(again) = made(session, case, findings).await else { return };
        served = again;
    }
    let (one, other) = (without_chance(&served), without_chance(&first));
    if own {
        findings.same(&format!("{name} from protobuf"), &one, &other);
    }
    forms::compare(session, case, &served, columns, findings).await;
    selectors::compare(session, case, &served, findings).await;
    let mut watching = watches::Watching::open(session, case).await;
    watching.added(case, &served, columns, findings).await;
    let gone = deleted(session, case, PROTOBUF, findings).await;
    watching.deleted(case, findings).await;
    compare_deletes(&name, &gone, &gone_in_json, findings);
}

/// Either the object or a Status that names it.
fn compare_deletes(name: &str, one: &Value, other: &Value, findings: &mut Findings) {
    let plain = |answer: &Value| {
        let mut answer = without_chance(answer);
        if let Some(details) = answer.get_mut("details").and_then(Value::as_object_mut) {
            details.remove("uid");
        }
        answer
    };
    findings.same(&format!("{name} answer of the delete"), &plain(one)["kind"], &plain(other)["kind"]);
    if one["kind"] == "Status" {
        findings.same(&format!("{name} status of the delete"), &plain(one), &plain(other));
    }
}

fn is_kept(resource: &Resource) -> bool {
    ["create", "get", "list", "watch", "delete"].into_iter().all(|verb| resource.has_verb(verb))
}

/// Every version, with the gates that whole kinds need.
fn everything() -> &'static Schema {
    let gates = ["ClusterTrustBundle", "GenericWorkload", "PodCertificateRequest", "StorageVersionMigrator"];
    let on = gates.map(|gate| format!("{gate}=true")).into_iter().filter(|gate| Schema::check("", gate).is_ok());
    let schema = Schema::serving("api/all=true", &on.collect::<Vec<_>>().join(","));
    Box::leak(Box::new(schema.expect("it can be served")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_every_kind_over_http() {
    let schema = everything();
    // Without the one who writes into the status of FlowSchemas.
    let server = Running::of(schema, Chain::of(Vec::new()), |server| server.flow.enabled = false).await;
    let session = Session::open(&server.admin).await;
    let all_columns = forms::columns();
    let (mut findings, mut kinds, mut other) = (Findings::default(), 0, Vec::new());
    for resource in schema.resources() {
        if !is_kept(resource) {
            other.push(format!("{}/{}: {}", resource.gv, resource.plural, resource.verbs.join(",")));
            continue;
        }
        let case = Case::of(resource);
        let columns = all_columns.as_ref().map(|all| {
            let found = all.get(&case.name());
            found.unwrap_or_else(|| panic!("printcolumns.json has no {}", case.name()))
        });
        twice(&session, &case, columns, &mut findings).await;
        kinds += 1;
    }
    println!(
        "golden kinds over HTTP: {kinds} kinds, {} requests, {} comparisons, {} columns, {} field selectors ({} with a \
         value), {} differences",
        session.requests(),
        findings.compared,
        findings.columns,
        findings.selectors,
        findings.valued,
        findings.wrong.len()
    );
    assert!(findings.wrong.is_empty(), "{}", findings.wrong.join("\n"));
    // Only answered, or made of something else: they cannot be kept, watched and deleted.
    expect![[r#"
        v1/bindings: create
        v1/componentstatuses: get,list
        authentication.k8s.io/v1/selfsubjectreviews: create
        authentication.k8s.io/v1/tokenreviews: create
        authorization.k8s.io/v1/localsubjectaccessreviews: create
        authorization.k8s.io/v1/selfsubjectaccessreviews: create
        authorization.k8s.io/v1/selfsubjectrulesreviews: create
        authorization.k8s.io/v1/subjectaccessreviews: create"#]]
    .assert_eq(&other.join("\n"));
}
