//! TaintNodesByCondition: a new node takes no pods until its controller has seen it ready.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Plugin, View};

pub(crate) struct TaintNodesByCondition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(node) = object.filter(|_| attributes.creates("", "nodes")) else { return Ok(()) };
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        match node["spec"].get_mut("taints").and_then(Value::as_array_mut) {
            Some(taints) => {
                let has = taints.iter().any(|one| {
                    object::str_at(one, "key") == NOT_READY && object::str_at(one, "effect") == "NoSchedule"
                });
                if !has {
                    taints.push(taint);
                }
            }
            None => node["spec"]["taints"] = json!([taint]),
        }
        Ok(())
    }
}
