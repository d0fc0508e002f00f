//! Field validation of patches: what a patch says twice or of no field is found in the patch itself.

use crate::common::{Harness, target};
use api_codec::decode::{FieldValidation, Format};
use api_codec::patch::PatchKind;
use api_machinery::ApiError;
use api_registry::{Body, RequestInfo, Written};
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
