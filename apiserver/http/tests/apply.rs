//! Server-side apply over HTTP: what it is asked with, and what it answers to requests that are not right.

use crate::common::Running;
use expect_test::expect;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn map(data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}).to_string()
}

fn managers(object: &Value) -> Vec<(&str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    entries
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap_or(""), entry["operation"].as_str().unwrap_or("")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals() {
    let server = Running::start().await;
    let made = server.admin.post(MAPS, &json!({"metadata": {"name": "x"}, "data": {"a": "1"}})).await;
    assert_eq!(made.code, 201);
    let long = format!("fieldManager={}", "m".repeat(129));
    let mut out = String::new();
    for (what, query, kind, body) in [
        ("no manager", "", APPLY.1, map(&json!({"a": "1"}))),
        ("a long manager", &*long, APPLY.1, map(&json!({"a": "1"}))),
        ("a bad manager", "fieldManager=a%07b", APPLY.1, map(&json!({"a": "1"}))),
        ("force of a patch", "force=true", "application/merge-patch+json", "{}".to_owned()),
        ("a bad dryRun", "fieldManager=me&dryRun=Maybe", APPLY.1, map(&json!({"a": "1"}))),
        ("CBOR", "fieldManager=me", "application/apply-patch+cbor", "{}".to_owned()),
        ("no YAML", "fieldManager=me", APPLY.1, "a: [".to_owned()),
        ("no type", "fieldManager=me", APPLY.1, "metadata: {name: x}".to_owned()),
        ("an unknown field", "fieldManager=me", APPLY.1, map(&json!({"a": "1"})).replace("\"data\"", "\"dta\"")),
        ("a conflict", "fieldManager=me", APPLY.1, map(&json!({"a": "2"}))),
    ] {
        let target = format!("{MAPS}/x?{query}");
        let answer =
            server.admin.send(true, "PATCH", &target, &[("content-type", kind), ("user-agent", "t")], body).await;
        let status = answer.status();
        // Of what is no YAML, the words after these are the reader's.
        let status = status.split(": yaml:").next().unwrap_or("");
        out.push_str(&format!("{what}: {status}\n"));
    }
    expect![[r#"
        no manager: 422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch
        a long manager: 422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes
        a bad manager: 422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\ab": invalid character U+0007 (at position 1)
        force of a patch: 422 Invalid: PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch
        a bad dryRun: 422 Invalid: PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Maybe"]: supported values: "All"
        CBOR: 415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml
        no YAML: 400 BadRequest: error decoding YAML: error converting YAML to JSON
        no type: 400 BadRequest: invalid object type: /, Kind=
        an unknown field: 500 : failed to create typed patch object (/x; /v1, Kind=ConfigMap): .dta: field not declared in schema
        a conflict: 409 Conflict: Apply failed with 1 conflict: conflict with "unknown" using v1: .data.a
    "#]].assert_eq(&out);
    assert_eq!(server.admin.get(&format!("{MAPS}/x")).await.json()["data"], json!({"a": "1"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_come_from_the_query_or_the_agent() {
    let server = Running::start().await;
    let admin = &server.admin;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata: {a: \"1\"}\n";
    let target = format!("{MAPS}/x?fieldManager=me&fieldValidation=Strict");
    let made = admin.send(true, "PATCH", &target, &[APPLY], yaml).await;
    assert_eq!((made.code, managers(&made.json())), (201, vec![("me", "Apply")]));
    let again = admin.send(true, "PATCH", &target, &[APPLY], yaml).await;
    assert_eq!((again.code, again.json()), (200, made.json()));
    let merge = [("content-type", "application/merge-patch+json"), ("user-agent", "tool/1.0 (linux)")];
    let patched = admin.send(true, "PATCH", &format!("{MAPS}/x"), &merge, r#"{"data":{"b":"2"}}"#).await;
    assert_eq!(managers(&patched.json()), [("me", "Apply"), ("tool", "Update")]);
    let named = format!("{MAPS}/x?fieldManager=other");
    let patched = admin.send(true, "PATCH", &named, &merge[..1], r#"{"data":{"c":"3"}}"#).await;
    let patched = patched.json();
    assert!(managers(&patched).contains(&("other", "Update")), "{patched}");
    let json = [("content-type", "application/json")];
    let nameless = admin.send(true, "POST", MAPS, &json, r#"{"metadata":{"name":"y"},"data":{"a":"1"}}"#).await;
    assert_eq!(managers(&nameless.json()), [("unknown", "Update")]);
    let forced = format!("{MAPS}/x?fieldManager=new&force=true");
    let forced = admin.send(true, "PATCH", &forced, &[APPLY], map(&json!({"a": "9"}))).await;
    assert_eq!(forced.json()["data"], json!({"a": "9", "b": "2", "c": "3"}));
    let sent = admin.with(&format!("{MAPS}/x"), &[("accept", "application/vnd.kubernetes.protobuf")]).await;
    let fields: &[u8] = br#"{"f:data":{"f:a":{}}}"#;
    assert!(sent.body.windows(fields.len()).any(|part| part == fields), "protobuf carries the fields");
}
