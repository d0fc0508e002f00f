//! PodTopologyLabels: a pod knows the zone and region of its node by its own labels.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Operation, Plugin, View};

pub(crate) struct PodTopologyLabels;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(object) = object.filter(|_| attributes.operation == Operation::Create) else { return Ok(()) };
        let node = match (attributes.is_any_of("", "pods"), attributes.subresource) {
            (true, "") => object::str_at(object, "spec.nodeName"),
            (true, "binding") if object::str_at(object, "target.kind") == "Node" => {
                object::str_at(object, "target.name")
            }
            _ => return Ok(()),
        };
        // A node that is not known yet has no place yet.
        if let Some(node) = node_named(view, node) {
            copy(object, &node);
        }
        Ok(())
    }
}

fn node_named(view: &dyn View, name: &str) -> Option<Arc<Value>> {
    if name.is_empty() { None } else { view.get(&GroupResource::new("", "nodes"), "", name) }
}

fn copy(object: &mut Value, node: &Value) {
    for key in LABELS {
        let Some(value) = object::label(node, key) else { continue };
        let labels = object::meta_mut(object).entry("labels").or_insert_with(|| json!({}));
        match labels.as_object_mut() {
            Some(labels) => {
                labels.insert(key.to_owned(), value.into());
            }
            None => *labels = json!({key: value}),
        }
    }
}
