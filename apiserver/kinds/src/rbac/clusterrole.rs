//! ClusterRole.

use api_machinery::{ErrorList, GroupResource, Value, names};
use serde_json::json;

use crate::at::At;
use crate::list::rbac_rules as rules;
use crate::{Kind, meta, selectors};

pub(crate) struct ClusterRole;

impl Kind for ClusterRole {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "clusterroles")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"},
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
        rules::validate(&root.field("rules"), false, errors);
        let aggregation = root.field("aggregationRule");
        if !aggregation.present() {
            return;
        }
        let all = aggregation.field("clusterRoleSelectors");
        if all.is_empty() {
            all.required(errors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for selector in all.items() {
            validate_selector(&selector, errors);
        }
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
    }
}

/// Whatever is wrong with a selector is said once more of all of it.
fn validate_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    selectors::label_selector(selector, errors);
    if errors.len() > before {
        errors.invalid(&selector.path(), &Value::Null, "invalid label selector.");
    }
}
