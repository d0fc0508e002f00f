//! The hooks of a resource without a file: custom resources.

use api_machinery::{GroupResource, Value};
use serde_json::json;

use crate::Kind;

pub(crate) struct Generic;

impl Kind for Generic {
    fn resource(&self) -> GroupResource {
        GroupResource::new("example.com", "examples")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Example", "metadata": {"name": "x"}, "spec": {}})
    }
    /// Custom resources: any change outside metadata and status.
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        changed_besides(object, old, &["metadata", "status"])
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

/// Whether any top-level field but these differs.
pub(crate) fn changed_besides(object: &Value, old: &Value, fields: &[&str]) -> bool {
    let differs = |one: &Value, other: &Value| {
        one.as_object().into_iter().flatten().any(|(field, value)| {
            !fields.contains(&field.as_str()) && !crate::at::same(value, crate::at::child(other, field))
        })
    };
    differs(object, old) || differs(old, object)
}
