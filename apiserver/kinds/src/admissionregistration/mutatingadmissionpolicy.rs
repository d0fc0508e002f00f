//! MutatingAdmissionPolicy.

use api_cel::{Environment, Expected};
use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::admissionregistration_validatingadmissionpolicy::{environment, with_variables};
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};
use crate::{Kind, meta};

pub(crate) struct MutatingAdmissionPolicy;

/// What is deleted is not changed any more.
const OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

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
        if meta::is_new(object) {
            validate_spec(object, true, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if !meta::is_new(object) {
            rules::validate_metadata(object, errors);
            validate_spec(object, !rules::same_conditions(object, old), errors);
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        rules::warnings(object)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_policy(object, "mutations", now))
    }
}

/// `new_conditions`: whether its match conditions are others than before.
fn validate_spec(object: &Value, new_conditions: bool, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    rules::validate_failure_policy(&spec.field("failurePolicy"), errors);
    rules::validate_param_kind(&spec.field("paramKind"), errors);
    validate_constraints(&spec.field("matchConstraints"), errors);
    let environment = environment(&spec);
    if new_conditions {
        rules::validate_match_conditions(&spec.field("matchConditions"), &environment, errors);
    }
    let environment = with_variables(&spec.field("variables"), environment.with_patches(), errors);
    let mutations = spec.field("mutations");
    if mutations.is_empty() {
        mutations.required(errors, "mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        validate_mutation(&mutation, &environment, errors);
    }
    spec.field("reinvocationPolicy").need_one_of(errors, &["IfNeeded", "Never"]);
}

fn validate_constraints(constraints: &At<'_>, errors: &mut ErrorList) {
    if !constraints.present() {
        return constraints.required(errors, "");
    }
    let resource_rules = constraints.field("resourceRules");
    rules::validate_match_resources(constraints, errors);
    resource_rules.need(errors);
    validate_operations(&resource_rules, errors);
}

/// Also of bindings.
pub(crate) fn validate_operations(resource_rules: &At<'_>, errors: &mut ErrorList) {
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

fn validate_mutation(mutation: &At<'_>, environment: &Environment, errors: &mut ErrorList) {
    let kind = mutation.field("patchType");
    let (wanted, other, expected) = match kind.str() {
        "" => return kind.required(errors, ""),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Expected::Patches),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Expected::Configuration),
        _ => return kind.unsupported(errors, &["ApplyConfiguration", "JSONPatch"]),
    };
    let (wanted, left_out) = (mutation.field(wanted), mutation.field(other));
    if wanted.present() {
        rules::check_expression(&wanted.field("expression"), "", (environment, expected), errors);
    } else {
        wanted.required(errors, &format!("must be specified when patchType is {}", kind.str()));
    }
    if left_out.present() {
        let shown = Value::from(format!("{{{other}}}"));
        let detail = format!("must not be specified when patchType is {}", kind.str());
        errors.invalid(&left_out.path(), &shown, &detail);
    }
}
