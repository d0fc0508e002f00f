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
        rules::validate_match_resources(&spec.field("matchResources"), errors);
        let actions = spec.field("validationActions");
        if actions.is_empty() {
            return actions.required(errors, "at least one validation action is required");
        }
        let mut seen = HashSet::new();
        for action in actions.items() {
            let text = action.value.as_str().unwrap_or("").to_owned();
            if !["Audit", "Deny", "Warn"].contains(&text.as_str()) {
                action.unsupported(errors, &["Audit", "Deny", "Warn"]);
            }
            if seen.contains(&text) {
                action.duplicate(errors);
            }
            seen.insert(text);
        }
        let has = |action: &str| seen.iter().any(|one| one == action);
        if has("Deny") && has("Warn") {
            actions.invalid(errors, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_binding(object, now))
    }
}

/// Also of bindings of mutating policies.
pub(crate) fn validate_policy_name(spec: &At<'_>, errors: &mut ErrorList) {
    let name = spec.field("policyName");
    if name.need(errors) {
        name.format(errors, names::dns1123_subdomain);
    }
}
