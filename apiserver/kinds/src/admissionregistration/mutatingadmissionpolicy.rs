//! MutatingAdmissionPolicy.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::admissionregistration_validatingadmissionpolicy::validate_variables;
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};

pub(crate) struct MutatingAdmissionPolicy;

/// A mutation happens before something is written.
const OPERATIONS: [&str; 3] = ["*", "CREATE", "UPDATE"];

impl Kind for MutatingAdmissionPolicy {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "mutatingadmissionpolicies")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
               "metadata": {"name": "x"}, "spec": {"reinvocationPolicy": "Never",
                   "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["example.com"],
                                                           "apiVersions": ["v1"], "resources": ["foos"]}]},
                   "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}})
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if let Some(constraints) = object.pointer_mut("/spec/matchConstraints") {
            rules::default_match_resources(constraints);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
        rules::validate_param_kind(&spec.field("paramKind"), errors);
        validate_constraints(&spec.field("matchConstraints"), errors);
        rules::validate_match_conditions(&spec.field("matchConditions"), errors);
        validate_variables(&spec.field("variables"), errors);
        let mutations = spec.field("mutations");
        if mutations.is_empty() {
            mutations.required(errors, "mutations must contain at least one item");
        }
        for mutation in mutations.items() {
            validate_mutation(&mutation, errors);
        }
        spec.field("reinvocationPolicy").need_one_of(errors, &["IfNeeded", "Never"]);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_policy(object, "mutations", now))
    }
}

fn validate_constraints(constraints: &At<'_>, errors: &mut ErrorList) {
    if !constraints.present() {
        return constraints.required(errors, "");
    }
    let resource_rules = constraints.field("resourceRules");
    if resource_rules.is_empty() {
        resource_rules.required(errors, "");
    }
    rules::validate_match_resources(constraints, errors);
    for rule in resource_rules.items() {
        for operation in rule.field("operations").items() {
            if !OPERATIONS.contains(&operation.str()) {
                // Upstream names the list, not the rule.
                let place = resource_rules.with(rule.value);
                errors.not_supported(&place.field("operations").path(), operation.value, &OPERATIONS);
            }
        }
    }
}

fn validate_mutation(mutation: &At<'_>, errors: &mut ErrorList) {
    let kind = mutation.field("patchType");
    let (patch, apply) = (mutation.field("jsonPatch"), mutation.field("applyConfiguration"));
    let (wanted, other) = match kind.str() {
        "" => return kind.required(errors, ""),
        "JSONPatch" => (patch, apply),
        "ApplyConfiguration" => (apply, patch),
        _ => return kind.unsupported(errors, &["ApplyConfiguration", "JSONPatch"]),
    };
    if !wanted.present() {
        wanted.required(errors, &format!("must be specified when patchType is {}", kind.str()));
    } else if wanted.field("expression").str().trim().is_empty() {
        wanted.field("expression").required(errors, "expression is not specified");
    }
    if other.present() {
        other.forbidden(errors, &format!("must not be specified when patchType is {}", kind.str()));
    }
}
