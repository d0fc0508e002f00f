//! ValidatingAdmissionPolicy.

use std::collections::HashSet;

use api_cel::Expected;
use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::{admissionregistration_policy_cells as policy_cells, admissionregistration_rules as rules};
use crate::{Kind, conditions};

pub(crate) struct ValidatingAdmissionPolicy;

const MAX_AUDIT_ANNOTATIONS: usize = 20;
/// Bytes of what makes the value of an annotation.
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Words of the language that no variable is named.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

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
        rules::validate_failure_policy(&spec.field("failurePolicy"), errors);
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
        let declared = declared(&spec);
        rules::validate_match_conditions(&spec.field("matchConditions"), &declared, errors);
        validate_variables(&spec.field("variables"), &declared, errors);
        let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let detail = "validations or auditAnnotations must contain at least one item";
            validations.required(errors, detail);
            annotations.required(errors, detail);
        }
        for validation in validations.items() {
            validate_validation(&validation, &declared, errors);
        }
        validate_annotations(&annotations, object::name(object), &declared, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let status = root.field("status");
        for warning in status.field("typeChecking").field("expressionWarnings").items() {
            warning.field("warning").need(errors);
            rules::need_expression(&warning.field("fieldRef"), "", errors);
        }
        conditions::validate(&status.field("conditions"), errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_policy(object, "validations", now))
    }
}

/// What the expressions of a policy may speak of. Also of mutating policies.
pub(crate) fn declared(spec: &At<'_>) -> Vec<&'static str> {
    let params = spec.field("paramKind").present().then_some("params");
    rules::DECLARED.iter().copied().chain(["namespaceObject", "variables"]).chain(params).collect()
}

/// Also of mutating policies.
pub(crate) fn validate_variables(variables: &At<'_>, declared: &[&str], errors: &mut ErrorList) {
    for variable in variables.items() {
        let name = variable.field("name");
        if name.str().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !crate::formats::c_identifier(name.str()) || RESERVED.contains(&name.str()) {
            name.invalid(errors, "must be a valid CEL identifier");
        }
        let (expression, wanted) = (variable.field("expression"), (declared, Expected::Anything));
        rules::check_expression(&expression, "expression is not specified", wanted, errors);
    }
}

fn validate_validation(validation: &At<'_>, declared: &[&str], errors: &mut ErrorList) {
    let (expression, wanted) = (validation.field("expression"), (declared, Expected::Bool));
    rules::check_expression(&expression, "expression is not specified", wanted, errors);
    let (message, of_expression) = (validation.field("message"), validation.field("messageExpression"));
    for text in [&of_expression, &message] {
        if !text.is_empty() && text.str().trim().is_empty() {
            text.invalid(errors, "must be non-empty if specified");
        }
    }
    if !of_expression.str().trim().is_empty() {
        rules::check_expression(&of_expression, "", (declared, Expected::String), errors);
    }
    if message.str().trim().contains(['\n', '\r']) {
        message.invalid(errors, "must not contain line breaks");
    }
    validation.field("reason").one_of_if_present(errors, &REASONS);
}

fn validate_annotations(annotations: &At<'_>, policy: &str, declared: &[&str], errors: &mut ErrorList) {
    if annotations.list().len() > MAX_AUDIT_ANNOTATIONS {
        annotations.invalid(errors, &format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"));
    }
    let mut seen = HashSet::new();
    for annotation in annotations.items() {
        validate_annotation(&annotation, policy, declared, errors);
        if !seen.insert(object::str_at(annotation.value, "key")) {
            annotation.field("key").duplicate(errors);
        }
    }
}

/// The name of the policy is the prefix of the key in the audit log.
fn validate_annotation(annotation: &At<'_>, policy: &str, declared: &[&str], errors: &mut ErrorList) {
    let (key, value) = (annotation.field("key"), annotation.field("valueExpression"));
    if policy.is_empty() {
        key.invalid(errors, "requires metadata.name be non-empty");
    } else {
        let full = format!("{policy}/{}", key.str());
        for message in names::qualified_name(&full) {
            errors.invalid(&key.path(), &Value::from(full.as_str()), &message);
        }
    }
    let wanted = (declared, Expected::StringOrNull);
    rules::check_expression(&value, "valueExpression is not specified", wanted, errors);
    if value.str().trim().len() > MAX_VALUE_EXPRESSION {
        value.required(errors, &format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length"));
    }
}
