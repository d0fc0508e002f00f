//! Role.

use api_machinery::{ErrorList, GroupResource, Value, names};
use serde_json::json;

use crate::at::At;
use crate::list::rbac_rules as rules;
use crate::{Kind, meta};

pub(crate) struct Role;

impl Kind for Role {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "roles")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
               "metadata": {"name": "x", "namespace": "default"},
               "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
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
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        rules::validate(&root.field("rules"), true, errors);
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, true, errors);
    }
}
