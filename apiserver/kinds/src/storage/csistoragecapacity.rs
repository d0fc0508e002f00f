//! CSIStorageCapacity.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, same};
use crate::list::core_node_labels as node_labels;
use crate::{Kind, formats, selectors};

pub(crate) struct CSIStorageCapacity;

impl Kind for CSIStorageCapacity {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "csistoragecapacities")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity",
               "metadata": {"name": "x", "namespace": "default"}, "storageClassName": "sc", "capacity": "1Gi"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        selectors::label_selector(&root.field("nodeTopology"), errors);
        root.field("storageClassName").format(errors, names::dns1123_subdomain);
        formats::quantity_not_negative(&root.field("capacity"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let topology = root.field("nodeTopology");
        if !same(topology.value, child(old, "nodeTopology")) {
            topology.invalid(errors, IMMUTABLE);
        }
        let class = root.field("storageClassName");
        if class.str() != object::str_at(old, "storageClassName") {
            class.invalid(errors, IMMUTABLE);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        node_labels::selector_warnings(&root.field("nodeTopology"))
    }
}
