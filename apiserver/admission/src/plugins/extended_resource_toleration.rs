//! ExtendedResourceToleration: pods that ask for devices may run on the nodes kept for these.

use std::collections::BTreeSet;

use api_machinery::{ApiError, Value, names, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct ExtendedResourceToleration;

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.writes("", "pods")) else { return Ok(()) };
        for resource in asked(pod) {
            tolerate(pod, &resource);
        }
        Ok(())
    }
}

fn asked(pod: &Value) -> BTreeSet<String> {
    let containers = ["spec.containers", "spec.initContainers"].into_iter().flat_map(|list| lookup::items(pod, list));
    let requests = containers.filter_map(|container| object::at(container, "resources.requests")?.as_object());
    requests.flatten().map(|(name, _)| name).filter(|name| is_extended(name)).cloned().collect()
}

/// `example.com/gpu`
fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/") || name.starts_with("requests.");
    !native && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Adds the toleration, or takes the end off one that is the same but for that.
fn tolerate(pod: &mut Value, resource: &str) {
    let toleration = json!({"key": resource, "operator": "Exists", "effect": "NoSchedule"});
    let same = |own: &Value| {
        ["key", "operator", "effect"].iter().all(|field| own[*field] == toleration[*field])
            && object::str_at(own, "value").is_empty()
    };
    match pod["spec"].get_mut("tolerations").and_then(Value::as_array_mut) {
        Some(list) => match list.iter_mut().find(|own| same(own)) {
            Some(own) => *own = toleration,
            None => list.push(toleration),
        },
        None => pod["spec"]["tolerations"] = json!([toleration]),
    }
}
