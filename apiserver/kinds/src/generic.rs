//! The hooks of a resource without a file: custom resources.

use std::collections::BTreeSet;

use api_machinery::quote::quoted;
use api_machinery::{GroupResource, Value, object};
use serde_json::json;

use crate::Kind;
use crate::meta::finalizer_is_known;

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
    fn warnings(&self, object: &Value) -> Vec<String> {
        finalizer_warnings(object, &Value::Null)
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        finalizer_warnings(object, old)
    }
}

/// Finalizers that are new and may be somebody else's, too: they have no prefix.
fn finalizer_warnings(object: &Value, old: &Value) -> Vec<String> {
    let before = object::finalizers(old);
    let added: BTreeSet<&str> = object::finalizers(object).into_iter().filter(|name| !before.contains(name)).collect();
    let unknown = added.into_iter().filter(|name| !finalizer_is_known(name));
    let warning = |name: &str| {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts \
             with other finalizer writers",
            quoted(name)
        )
    };
    unknown.map(warning).collect()
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
