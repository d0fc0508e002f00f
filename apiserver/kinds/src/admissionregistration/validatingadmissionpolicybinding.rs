//! ValidatingAdmissionPolicyBinding.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};

pub(crate) struct ValidatingAdmissionPolicyBinding;

impl Kind for ValidatingAdmissionPolicyBinding {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "validatingadmissionpolicybindings")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
               "metadata": {"name": "x"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}})
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
        }
        validate_actions(&spec.field("validationActions"), errors);
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

fn validate_actions(actions: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for action in actions.items() {
        action.exactly_one_of(errors, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action.value.as_str()) {
            action.duplicate(errors);
        }
    }
    if seen.contains(&Some("Deny")) && seen.contains(&Some("Warn")) {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                      response and headers serves no purpose)";
        actions.invalid(errors, detail);
    }
    if seen.is_empty() {
        actions.required(errors, "at least one validation action is required");
    }
}

/// Also of bindings of mutating policies.
pub(crate) fn validate_policy_name(spec: &At<'_>, errors: &mut ErrorList) {
    let name = spec.field("policyName");
    if name.need(errors) {
        name.format(errors, names::dns1123_subdomain);
    }
}
