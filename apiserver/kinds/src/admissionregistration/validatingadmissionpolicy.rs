//! ValidatingAdmissionPolicy.

use std::collections::HashSet;

use api_cel::{Environment, Expected, Type, is_own_word};
use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::networking_servicecidr::keep_all_but_status;
use crate::list::{
    admissionregistration_json_path as json_path, admissionregistration_policy_cells as policy_cells,
    admissionregistration_rules as rules,
};
use crate::{Kind, conditions, meta};

pub(crate) struct ValidatingAdmissionPolicy;

const MAX_AUDIT_ANNOTATIONS: usize = 20;
/// Bytes of what makes the value of an annotation.
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

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
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
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
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let status = root.field("status");
        for warning in status.field("typeChecking").field("expressionWarnings").items() {
            warning.field("warning").need(errors);
            validate_field_ref(&warning.field("fieldRef"), errors);
        }
        conditions::validate(&status.field("conditions"), errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        rules::warnings(object)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(policy_cells::of_policy(object, "validations", now))
    }
}

fn validate_field_ref(at: &At<'_>, errors: &mut ErrorList) {
    let path = at.str().trim();
    if path.is_empty() {
        at.required(errors, "");
    } else if let Some(why) = json_path::why_wrong(path) {
        errors.invalid(&at.path(), &Value::from(path), &format!("invalid JSONPath: {why}"));
    }
}

/// `new_conditions`: whether its match conditions are others than before.
fn validate_spec(object: &Value, new_conditions: bool, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    rules::validate_failure_policy(&spec.field("failurePolicy"), errors);
    rules::validate_param_kind(&spec.field("paramKind"), errors);
    let constraints = spec.field("matchConstraints");
    if constraints.present() {
        rules::validate_match_resources(&constraints, errors);
        constraints.field("resourceRules").need(errors);
    } else {
        constraints.required(errors, "");
    }
    let mut environment = environment(&spec);
    if new_conditions {
        rules::validate_match_conditions(&spec.field("matchConditions"), &environment, errors);
    }
    let variables = spec.field("variables");
    if !variables.is_empty() {
        environment = with_variables(&variables, environment, errors);
    }
    let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        validations.required(errors, detail);
        annotations.required(errors, detail);
    }
    for validation in validations.items() {
        validate_validation(&validation, &environment, errors);
    }
    validate_annotations(&annotations, object::name(object), &environment, errors);
}

/// What the expressions of a policy may speak of, but for its variables. Also of mutating policies.
pub(crate) fn environment(spec: &At<'_>) -> Environment {
    let environment = Environment::admission();
    if spec.field("paramKind").present() { environment.with_params() } else { environment }
}

/// Also of mutating policies. Answers what other expressions may speak of; each knows the variables before it.
pub(crate) fn with_variables(variables: &At<'_>, environment: Environment, errors: &mut ErrorList) -> Environment {
    let mut known: Vec<(String, Type)> = Vec::new();
    for variable in variables.items() {
        let name = variable.field("name");
        if name.str().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !crate::formats::c_identifier(name.str()) || is_own_word(name.str()) {
            name.invalid(errors, "must be a valid CEL identifier");
        }
        let expression = variable.field("expression");
        let wanted = (&environment.clone().with_variables(known.iter().cloned()), Expected::Anything);
        let kind = rules::check_expression(&expression, "expression is not specified", wanted, errors);
        if !name.str().trim().is_empty() && !expression.str().trim().is_empty() {
            let kind = kind.map_or(Type::Dyn, |kind| kind.of_variable());
            known.push((name.str().to_owned(), kind));
        }
    }
    environment.with_variables(known)
}

fn validate_validation(validation: &At<'_>, environment: &Environment, errors: &mut ErrorList) {
    let (expression, wanted) = (validation.field("expression"), (environment, Expected::Bool));
    rules::check_expression(&expression, "expression is not specified", wanted, errors);
    validate_message_expression(&validation.field("messageExpression"), environment, errors);
    let message = validation.field("message");
    if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, NOT_BLANK);
    } else if message.str().trim().contains(['\n', '\r']) {
        message.invalid(errors, "must not contain line breaks");
    }
    validation.field("reason").one_of_if_present(errors, &REASONS);
}

const NOT_BLANK: &str = "must be non-empty if specified";

/// Whoever writes a message has no say in who may do what.
fn validate_message_expression(expression: &At<'_>, environment: &Environment, errors: &mut ErrorList) {
    if expression.is_empty() {
        return;
    }
    if expression.str().trim().is_empty() {
        return expression.invalid(errors, NOT_BLANK);
    }
    let environment = environment.clone().without_authorizer();
    rules::check_expression(expression, "", (&environment, Expected::String), errors);
}

fn validate_annotations(annotations: &At<'_>, policy: &str, environment: &Environment, errors: &mut ErrorList) {
    if annotations.list().len() > MAX_AUDIT_ANNOTATIONS {
        // Upstream shows them with the names their fields have in Go.
        let text = |one: &Value, field: &str| object::str_at(one, field).to_owned();
        let all = annotations.list().iter();
        let shown: Value =
            all.map(|one| json!({"Key": text(one, "key"), "ValueExpression": text(one, "valueExpression")})).collect();
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.invalid(&annotations.path(), &shown, &detail);
    }
    let mut seen = HashSet::new();
    for annotation in annotations.items() {
        validate_annotation(&annotation, policy, environment, errors);
        if !seen.insert(object::str_at(annotation.value, "key")) {
            annotation.field("key").duplicate(errors);
        }
    }
}

/// The name of the policy is the prefix of the key in the audit log.
fn validate_annotation(annotation: &At<'_>, policy: &str, environment: &Environment, errors: &mut ErrorList) {
    let (key, value) = (annotation.field("key"), annotation.field("valueExpression"));
    if policy.is_empty() {
        key.invalid(errors, "requires metadata.name be non-empty");
    } else {
        let full = format!("{policy}/{}", key.str());
        for message in names::qualified_name(&full) {
            errors.invalid(&key.path(), &Value::from(full.as_str()), &message);
        }
    }
    if value.str().trim().len() > MAX_VALUE_EXPRESSION {
        return value.required(errors, &format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length"));
    }
    let wanted = (environment, Expected::StringOrNull);
    rules::check_expression(&value, "valueExpression is not specified", wanted, errors);
}
