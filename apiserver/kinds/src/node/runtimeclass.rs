//! RuntimeClass.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::list::{
    core_affinity as affinity, core_internal_json as internal, core_node_labels as node_labels,
    core_resource_name as resource_name,
};
use crate::{Kind, cells, meta, selectors};

pub(crate) struct RuntimeClass;

impl Kind for RuntimeClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("node.k8s.io", "runtimeclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "x"}, "handler": "h"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    /// Upstream looks at the metadata of a changed one as if it was new.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, false, errors);
        let root = At::root(object);
        let handler = root.field("handler");
        if handler.need(errors) {
            handler.format(errors, names::dns1123_label);
        }
        // Upstream checks the overhead as limits of a container, and says so in the path.
        let overhead = root.field("overhead");
        if overhead.present() {
            resource_name::validate_overhead(&overhead.with(child(object, "overhead.podFixed")), errors);
        }
        let scheduling = root.field("scheduling");
        selectors::labels(&scheduling.field("nodeSelector"), errors);
        let tolerations = scheduling.field("tolerations");
        affinity::validate_tolerations(&tolerations, errors);
        let key =
            |one: &Value| ["key", "operator", "value", "effect"].map(|field| object::str_at(one, field).to_owned());
        let mut seen = HashSet::new();
        for toleration in tolerations.items() {
            if !seen.insert(key(toleration.value)) {
                let shown = internal::shown("Toleration", toleration.value);
                errors.duplicate_printed(&toleration.path(), &shown, "");
            }
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let handler = root.field("handler");
        if handler.str() != object::str_at(old, "handler") {
            handler.invalid(errors, IMMUTABLE);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let labels = child(object, "scheduling.nodeSelector").as_object().into_iter().flatten();
        let deprecated = labels.filter_map(|(key, _)| node_labels::deprecation(key));
        deprecated.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::text(object, "handler"), cells::age(object, now)])
    }
}
