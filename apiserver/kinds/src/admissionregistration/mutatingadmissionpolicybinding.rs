//! MutatingAdmissionPolicyBinding.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::admissionregistration_mutatingadmissionpolicy::validate_operations;
use crate::list::admissionregistration_validatingadmissionpolicybinding::validate_policy_name;
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};

pub(crate) struct MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "mutatingadmissionpolicybindings")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
               "metadata": {"name": "x"}, "spec": {"policyName": "p"}})
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if let Some(resources) = object.pointer_mut("/spec/matchResources") {
            rules::default_match_resources(resources);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_policy_name(&spec, errors);
        rules::validate_param_ref(&spec.field("paramRef"), errors);
        let resources = spec.field("matchResources");
        if resources.present() {
            rules::validate_match_resources(&resources, errors);
            validate_operations(&resources.field("resourceRules"), errors);
        }
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        rules::validate_metadata(object, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        rules::warnings(object)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_binding(object, now))
    }
}
