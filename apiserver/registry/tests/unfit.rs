//! What must not get into the store, and what happens when it is there.

use crate::common::{Harness, refusal};
use api_machinery::{GroupResource, ObjectKey, Value, object};
use api_registry::DeleteOptions;
use serde_json::json;
use store_api::{Store, Txn};

const REVISIONS: &str = "apps/v1/controllerrevisions";
const SCALERS: [&str; 2] = ["autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers"];

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::from(1), |inner, _| json!([inner]))
}

fn deletion(uid: &str) -> DeleteOptions {
    DeleteOptions { precondition_uid: Some(uid.to_owned()), ..DeleteOptions::default() }
}

/// `autoscaling/v1` has annotations for what it has no fields for. Nobody decodes them but the conversion.
#[tokio::test]
async fn annotations_become_fields_only_where_they_fit() {
    let good = json!([{"type": "Resource", "resource": {
        "name": "memory", "targetAverageUtilization": 50, "unknown": 1}}]);
    let rules = json!({"scaleUp": {"stabilizationWindowSeconds": 5, "policies": [
        {"type": "Pods", "value": 1, "periodSeconds": 15}]}});
    for (metrics, behavior, kept) in [
        (good.to_string(), rules.to_string(), true),
        (r#"[{"type": 7}]"#.to_owned(), r#"{"scaleUp": []}"#.to_owned(), false),
        ("nonsense".to_owned(), "3".to_owned(), false),
        (nested(126).to_string(), nested(126).to_string(), false),
    ] {
        let h = Harness::new().await;
        let annotations = json!({
            "autoscaling.alpha.kubernetes.io/metrics": metrics, "autoscaling.alpha.kubernetes.io/behavior": behavior});
        let body = json!({"metadata": {"name": "s", "annotations": annotations},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
        let made = h.create(SCALERS[0], "default/", body).await.expect("created");
        let stored = h.get(SCALERS[1], "default/s").await.expect("there");
        let found = object::at(&stored, "spec.behavior.scaleUp.stabilizationWindowSeconds");
        assert_eq!(found, kept.then_some(&json!(5)), "{metrics}");
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["unknown"], Value::Null);
        let more = h.merge(SCALERS[0], "default/s", json!({"spec": {"maxReplicas": 4}})).await.expect("patched");
        assert_eq!(more.object["spec"]["maxReplicas"], 4);
        h.delete(SCALERS[0], "default/s", deletion(object::uid(&made.object))).await.expect("deleted");
    }
}

#[tokio::test]
async fn nothing_is_stored_that_cannot_be_read_again() {
    let h = Harness::new().await;
    // One level is the object's own.
    let revision = |name: &str, levels: usize| json!({"metadata": {"name": name}, "data": {"n": nested(levels - 1)}, "revision": 1});
    let refused = refusal(h.create(REVISIONS, "default/", revision("x", 127)).await);
    assert_eq!(refused, "400 BadRequest: the object is too deep: limit is 127 levels");
    h.create(REVISIONS, "default/", revision("x", 126)).await.expect("created");
    let deeper = json!([{"op": "replace", "path": "/data", "value": {"n": nested(126)}}]);
    assert!(refusal(h.json_patch(REVISIONS, "default/x", deeper).await).starts_with("422 Invalid: "));
    let made = h.get(REVISIONS, "default/x").await.expect("there");
    assert!(made.is_object());
    h.delete(REVISIONS, "default/x", deletion(object::uid(&made))).await.expect("deleted");
}

/// Another program wrote into the store.
#[tokio::test]
async fn bytes_that_are_no_object_are_an_error() {
    let h = Harness::new().await;
    let key = ObjectKey::new(GroupResource::new("", "configmaps"), "default", "x");
    let bytes = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x"}},"data":{}}}"#, nested(200));
    h.store.txn(Txn::put(key.store_key(), bytes)).await.expect("put");
    h.registry.get(&crate::common::target("v1/configmaps", "default/x"), None).await.expect("the bytes are served");
    let why = "500 InternalError: Internal error occurred: the store holds what is not an object";
    assert_eq!(refusal(h.merge("v1/configmaps", "default/x", json!({"data": {}})).await), why);
    assert_eq!(refusal(h.delete("v1/configmaps", "default/x", DeleteOptions::default()).await), why);
    assert_eq!(refusal(h.delete("v1/configmaps", "default/x", deletion("u")).await), why);
}
