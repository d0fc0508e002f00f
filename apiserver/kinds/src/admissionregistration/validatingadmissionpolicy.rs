//! ValidatingAdmissionPolicy.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};

pub(crate) struct ValidatingAdmissionPolicy;

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

impl Kind for ValidatingAdmissionPolicy {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "validatingadmissionpolicies")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
               "metadata": {"name": "x"}, "spec": {"validations": [{"expression": "true"}],
                   "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["example.com"],
                                                           "apiVersions": ["v1"], "resources": ["foos"]}]}}})
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
        let constraints = spec.field("matchConstraints");
        if !constraints.present() {
            constraints.required(errors, "");
        } else {
            rules::validate_match_resources(&constraints, errors);
            let resource_rules = constraints.field("resourceRules");
            if resource_rules.is_empty() {
                resource_rules.required(errors, "");
            }
        }
        rules::validate_match_conditions(&spec.field("matchConditions"), errors);
        validate_variables(&spec.field("variables"), errors);
        let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let detail = "validations or auditAnnotations must contain at least one item";
            validations.required(errors, detail);
            annotations.required(errors, detail);
        }
        for validation in validations.items() {
            validate_validation(&validation, errors);
        }
        validate_annotations(&annotations, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_policy(object, "validations", now))
    }
}

/// Also of mutating policies.
pub(crate) fn validate_variables(variables: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for variable in variables.items() {
        let name = variable.field("name");
        let text = object::str_at(variable.value, "name");
        if text.is_empty() {
            name.required(errors, "");
        } else if !crate::formats::c_identifier(text) {
            name.invalid(errors, "name is not a valid CEL identifier");
        }
        if seen.contains(&text) {
            name.duplicate(errors);
        }
        seen.insert(text);
        if variable.field("expression").str().trim().is_empty() {
            variable.field("expression").required(errors, "");
        }
    }
}

fn validate_validation(validation: &At<'_>, errors: &mut ErrorList) {
    let (expression, message) = (validation.field("expression"), validation.field("message"));
    if expression.str().trim().is_empty() {
        expression.required(errors, "expression is not specified");
    }
    if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, "message must be non-empty if specified");
    }
    if message.str().trim().contains('\n') {
        message.invalid(errors, "message must not contain line breaks");
    }
    validation.field("reason").one_of(errors, &REASONS);
}

fn validate_annotations(annotations: &At<'_>, errors: &mut ErrorList) {
    if annotations.list().len() > MAX_AUDIT_ANNOTATIONS {
        annotations.invalid(errors, &format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"));
    }
    let mut seen = HashSet::new();
    for annotation in annotations.items() {
        let key = annotation.field("key");
        let text = object::str_at(annotation.value, "key");
        for message in names::qualified_name(text) {
            key.invalid(errors, &message);
        }
        if seen.contains(&text) {
            key.duplicate(errors);
        }
        seen.insert(text);
        if annotation.field("valueExpression").str().trim().is_empty() {
            annotation.field("valueExpression").required(errors, "valueExpression is not specified");
        }
    }
}
