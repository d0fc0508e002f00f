//! ClusterRoleBinding.

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::list::rbac_rules as rules;
use crate::{Kind, meta};

pub(crate) struct ClusterRoleBinding;

impl Kind for ClusterRoleBinding {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "clusterrolebindings")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "x"},
               "roleRef": {"apiGroup": rules::GROUP, "kind": "ClusterRole", "name": "r"},
               "subjects": [{"apiGroup": rules::GROUP, "kind": "User", "name": "u"}]})
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn default(&self, object: &mut Value) {
        rules::default_binding(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        rules::validate_binding(object, &["ClusterRole"], errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        rules::validate_binding_update(object, old, errors);
        meta::validate(self, object, false, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(rules::binding_cells(object, now))
    }
}
