//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Operation, Plugin, View};

pub(crate) struct DefaultTolerationSeconds;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let Some(pod) = object.filter(|_| writes && attributes.is("", "pods")) else { return Ok(()) };
        for taint in TAINTS {
            if !tolerates(pod, taint) {
                add(pod, taint);
            }
        }
        Ok(())
    }
}

fn tolerates(pod: &Value, taint: &str) -> bool {
    let tolerations = object::at(pod, "spec.tolerations").and_then(Value::as_array);
    tolerations.into_iter().flatten().any(|one| {
        let (key, effect) = (object::str_at(one, "key"), object::str_at(one, "effect"));
        (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
    })
}

fn add(pod: &mut Value, taint: &str) {
    if !pod["spec"].is_object() {
        return;
    }
    let toleration = json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
    match pod["spec"].get_mut("tolerations").and_then(Value::as_array_mut) {
        Some(list) => list.push(toleration),
        None => pod["spec"]["tolerations"] = json!([toleration]),
    }
}
