//! What patches may change, and their field validation: what a patch says twice or of no field is found in the patch
//! itself.

use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_codec::decode::{FieldValidation, Format};
use api_codec::patch::PatchKind;
use api_machinery::ApiError;
use api_registry::{Body, Notes, RequestInfo, Written};
use serde_json::json;

const MAPS: &str = "v1/configmaps";

async fn patch(
    h: &Harness,
    (path, place): (&str, &str),
    kind: PatchKind,
    validation: FieldValidation,
    text: &str,
) -> Result<Written, ApiError> {
    let info = RequestInfo { field_validation: validation, ..Harness::info() };
    let body = Body::Bytes { format: Format::Json, bytes: text.to_owned().into() };
    h.registry.patch(&info, &target(path, place), kind, body).await
}

#[tokio::test]
async fn strictness_of_patches() {
    let h = Harness::new().await;
    let map = json!({"metadata": {"name": "x"}, "data": {"a": "1"}});
    h.create(MAPS, "default/", map).await.expect("created");
    let twice = r#"{"data":{"a":"2","a":"3"},"datta":{}}"#;
    let json_patch = r#"[{"op":"add","path":"/data/b","path":"/data/c","value":"1","valeu":1},
                         {"op":"add","path":"/datta","value":{}}]"#;
    let found = r#"duplicate field "data.a", unknown field "datta""#;
    let operations =
        r#"json patch duplicate field "[0].path", json patch unknown field "[0].valeu", unknown field "datta""#;
    for (kind, text, findings, shown) in [
        (PatchKind::Merge, twice, found, r#"{\"apiVersion\":\"v1\""#),
        (PatchKind::Strategic, twice, found, r#"map[data:map[a:3] datta:map[]]"#),
        (PatchKind::Json, json_patch, operations, r#"{\"apiVersion\":\"v1\""#),
    ] {
        let warned = patch(&h, (MAPS, "default/x"), kind, FieldValidation::Warn, text).await.expect("patched");
        assert_eq!(warned.warnings.join(", "), findings, "{kind:?}");
        let ignored = patch(&h, (MAPS, "default/x"), kind, FieldValidation::Ignore, text).await.expect("patched");
        assert_eq!(ignored.warnings, [""; 0], "{kind:?}");
        let error = patch(&h, (MAPS, "default/x"), kind, FieldValidation::Strict, text).await.expect_err("refused");
        let begin = format!(r#" "" is invalid: patch: Invalid value: "{shown}"#);
        assert!(error.message.starts_with(&begin), "{}", error.message);
        assert!(error.message.ends_with(&format!(": strict decoding error: {findings}")), "{}", error.message);
        let status = error.to_status();
        assert_eq!((error.code, &status["details"]["causes"][0]["field"]), (422, &json!("patch")), "{status}");
    }
    let wrong = patch(&h, (MAPS, "default/x"), PatchKind::Merge, FieldValidation::Strict, r#"{"data":3}"#).await;
    let wrong = wrong.expect_err("refused");
    assert!(wrong.code == 422 && wrong.message.contains("json: cannot unmarshal number"), "{wrong:?}");
}

/// A patched object is still the one that the path names.
#[tokio::test]
async fn what_a_patch_may_say_of_its_object() {
    use PatchKind::{Json, Merge, Strategic};
    let h = Harness::new().await;
    let map = json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"a": "1"}});
    h.create(MAPS, "default/", map).await.expect("created");
    h.create("v1/namespaces", "", json!({"metadata": {"name": "n"}})).await.expect("created");
    let kind =
        |kind: &str, version: &str| format!("no kind \"{kind}\" is registered for version \"{version}\" at this path");
    let namespace = "the namespace of the provided object does not match the namespace sent on the request";
    let literal = "error decoding patch: invalid character 'o' in literal null (expecting 'u')";
    for (place, patch_kind, text, expect) in [
        ("default/x", Merge, r#"{"kind":"Other"}"#, Err((422, kind("Other", "v1")))),
        (
            "default/x",
            Json,
            r#"[{"op":"replace","path":"/apiVersion","value":"other/v1"}]"#,
            Err((422, kind("ConfigMap", "other/v1"))),
        ),
        ("default/x", Merge, r#"{"kind":null}"#, Ok(())),
        ("default/x", Strategic, r#"{"kind":"Other","apiVersion":"v9"}"#, Ok(())),
        ("default/x", Merge, r#"{"metadata":{"namespace":"other"}}"#, Err((400, namespace.to_owned()))),
        ("default/x", Strategic, r#"{"metadata":{"$patch":"replace","name":"x"}}"#, Ok(())),
        (
            "default/x",
            Strategic,
            r#"{"metadata":{"labels":"x"}}"#,
            Err((422, "cannot restore map from string".to_owned())),
        ),
        ("default/x", Json, r#"[{"op":"replace","path":"/data","value":{"b":"2"}}]"#, Ok(())),
        ("default/x", Json, "not json", Err((400, literal.to_owned()))),
        ("default/none", Json, "not json", Err((404, "configmaps \"none\" not found".to_owned()))),
    ] {
        let patched = patch(&h, (MAPS, place), patch_kind, FieldValidation::Warn, text).await;
        let outcome = patched.map_err(|error| (error.code, error.message));
        match (outcome, expect) {
            (Ok(written), Ok(())) => {
                assert_eq!(
                    (&written.object["kind"], &written.object["apiVersion"]),
                    (&json!("ConfigMap"), &json!("v1"))
                );
                assert_eq!(written.object["metadata"]["namespace"], "default", "{text}");
            }
            (Err((code, message)), Err((expected, end))) => {
                assert!(code == expected && message.ends_with(&end), "{text}: {code} {message}");
            }
            (outcome, expect) => panic!("{text}: {outcome:?}, not {expect:?}"),
        }
    }
    // What has no namespace keeps having none.
    let moved = h.merge("v1/namespaces", "n", json!({"metadata": {"namespace": "other"}})).await.expect("patched");
    assert_eq!(moved.object["metadata"].get("namespace"), None);
}

/// The text of a patched object has its managers as Go writes them, and of a secret says nothing.
#[tokio::test]
async fn refused_patches_show_what_they_made() {
    let h = Harness::new().await;
    let info = RequestInfo { field_manager: "m".to_owned(), ..Harness::info() };
    for path in [MAPS, "v1/secrets"] {
        let body = Body::Value(json!({"metadata": {"name": "x"}, "data": {"a": "MQ=="}}));
        let made = h.registry.create(&info, &target(path, "default/"), body).await.expect("created");
        let text = r#"{"metadata":{"labels":{"a":1}}}"#;
        let refused = refusal(patch(&h, (path, "default/x"), PatchKind::Merge, FieldValidation::Warn, text).await);
        let managed = r#"[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2027-01-15T08:00:00Z","#
            .to_owned()
            + r#""fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:a":{}}}}]"#;
        let (version, uid) = (made.revision, &made.object["metadata"]["uid"]);
        let metadata = r#"{"creationTimestamp":"2027-01-15T08:00:00Z","labels":{"a":1},"managedFields":"#.to_owned()
            + &format!(r#"{managed},"name":"x","namespace":"default","resourceVersion":"{version}","uid":{uid}}}"#);
        let shown = match path {
            MAPS => format!(r#"{{"apiVersion":"v1","data":{{"a":"MQ=="}},"kind":"ConfigMap","metadata":{metadata}}}"#),
            _ => "<secret contents redacted>".to_owned(),
        };
        let shown = shown.replace('"', "\\\"");
        let why = "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string";
        assert_eq!(refused, format!("422 Invalid:  \"\" is invalid: patch: Invalid value: \"{shown}\": {why}"));
    }
}

/// In a body both kinds of findings come in the order of the body.
#[tokio::test]
async fn findings_of_a_body() {
    let h = Harness::new().await;
    let text = r#"{"metadata":{"name":"x"},"z":1,"data":{"a":"1","a":"2"},"b":1}"#;
    let body = Body::Bytes { format: Format::Json, bytes: text.into() };
    let info = RequestInfo { field_validation: FieldValidation::Warn, ..Harness::info() };
    let made = h.registry.create(&info, &target(MAPS, "default/"), body).await.expect("created");
    assert_eq!(made.warnings.join(", "), r#"unknown field "z", duplicate field "data.a", unknown field "b""#);
}

/// They are told also when the write is refused later on. What is wrong with an application itself is said alone.
#[tokio::test]
async fn findings_of_what_is_refused() {
    let h = Harness::new().await;
    let asked = |manager: &str| {
        let (notes, field_manager) = (Arc::new(Notes::default()), manager.to_owned());
        let field_validation = FieldValidation::Warn;
        (notes.clone(), RequestInfo { notes: Some(notes), field_manager, field_validation, ..Harness::info() })
    };
    let body = |text: &str| Body::Bytes { format: Format::Json, bytes: text.to_owned().into() };
    let (notes, info) = asked("one");
    let text = r#"{"metadata":{"name":"X"},"z":1}"#;
    let refused = refusal(h.registry.create(&info, &target(MAPS, "default/"), body(text)).await);
    assert!(refused.starts_with("422 Invalid: ConfigMap \"X\" is invalid"), "{refused}");
    assert_eq!(notes.warnings(), [r#"unknown field "z""#]);

    let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1","a":"VALUE"}}"#;
    let apply = async |(notes, info): (Arc<Notes>, RequestInfo), value: &str, force: bool| {
        let (place, body) = (target(MAPS, "default/x"), body(&text.replace("VALUE", value)));
        let applied = h.registry.apply(&info, &place, body, force).await;
        let code = applied.map_or_else(|error| error.code, |written| if written.created { 201 } else { 200 });
        (code, notes.warnings())
    };
    let found = vec![r#"duplicate field "data.a""#.to_owned()];
    assert_eq!(apply(asked("one"), "2", false).await, (201, found.clone()));
    assert_eq!(apply(asked("two"), "3", false).await, (409, Vec::new()));
    assert_eq!(apply(asked("two"), "3", true).await, (200, found));
}

#[tokio::test]
async fn strictness_of_patches_of_scale() {
    let h = Harness::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    h.create("apps/v1/deployments", "default/", json!({"metadata": {"name": "d"}, "spec": spec}))
        .await
        .expect("created");
    let place = ("apps/v1/deployments", "default/d#scale");
    let text = r#"{"spec":{"replicas":2,"replicas":3},"other":1}"#;
    let scaled = patch(&h, place, PatchKind::Merge, FieldValidation::Warn, text).await.expect("scaled");
    assert_eq!(scaled.warnings, [r#"duplicate field "spec.replicas""#, r#"unknown field "other""#]);
    assert_eq!(scaled.object["spec"]["replicas"], 3);
}
