//! What webhook configurations and admission policies share: rules, match conditions, resources.

use std::collections::{BTreeMap, HashSet};

use api_cel::{Environment, Expected, Expression, Type};
use api_machinery::{ErrorList, Path, Value, meta, names, object};

use crate::at::{At, child, same};
use crate::selectors;

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";
const MAX_MATCH_CONDITIONS: usize = 64;
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What becomes of a binding without parameters.
const ACTIONS: [&str; 2] = ["Deny", "Allow"];
/// How names end that only files of a server have.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// What there is to say of a name that is not forbidden yet.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    if !object::name(object).ends_with(STATIC_SUFFIX) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and \
         cannot be managed via the API"
    )]
}

/// An update looks at metadata as if the object were new. Finalizers need no domain here.
pub(crate) fn validate_metadata(object: &Value, errors: &mut ErrorList) {
    meta::validate_object_meta(object, false, &names::dns1123_subdomain, &Path::new("metadata"), errors);
}

/// Whether the match conditions of a policy mean what they meant before.
pub(crate) fn same_conditions(object: &Value, old: &Value) -> bool {
    ["spec.paramKind", "spec.matchConditions"].iter().all(|path| same(child(object, path), child(old, path)))
}

/// A rule of a webhook or a policy. With `*` nothing else may be named.
pub(crate) fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let operations = rule.field("operations");
    validate_all(&operations, "operations", errors);
    for operation in operations.items() {
        operation.exactly_one_of(errors, &OPERATIONS);
    }
    validate_all(&rule.field("apiGroups"), "API groups", errors);
    let versions = rule.field("apiVersions");
    validate_all(&versions, "API versions", errors);
    for version in versions.items() {
        version.need(errors);
    }
    validate_resources(&rule.field("resources"), errors);
    rule.field("scope").one_of_if_present(errors, &["*", "Cluster", "Namespaced"]);
}

fn validate_all(list: &At<'_>, others: &str, errors: &mut ErrorList) {
    list.need(errors);
    if list.list().len() > 1 && list.list().iter().any(|one| one == "*") {
        list.invalid(errors, &format!("if '*' is present, must not specify other {others}"));
    }
}

/// What a wildcard of before already covers is an error of the later one.
fn validate_resources(list: &At<'_>, errors: &mut ErrorList) {
    list.need(errors);
    let (mut of_resource, mut of_subresource) = (HashSet::new(), HashSet::new());
    let (mut twice, mut once, mut plain) = (false, false, false);
    for item in list.items() {
        if !item.need(errors) {
            continue;
        }
        let text = item.str().to_owned();
        twice |= text == "*/*";
        once |= text == "*";
        let Some((resource, subresource)) = text.split_once('/') else {
            // Upstream looks at the last of them only.
            plain = text != "*";
            continue;
        };
        if of_resource.contains(resource) {
            item.invalid(errors, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if of_subresource.contains(subresource) {
            item.invalid(errors, &format!("if '*/{subresource}' is present, must not specify {text}"));
        }
        if subresource == "*" {
            of_resource.insert(resource.to_owned());
        }
        if resource == "*" {
            of_subresource.insert(subresource.to_owned());
        }
    }
    if twice && list.list().len() > 1 {
        list.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if once && plain {
        list.invalid(errors, "if '*' is present, must not specify other resources without subresources");
    }
}

/// Named expressions. `environment`: what they may speak of.
pub(crate) fn validate_match_conditions(list: &At<'_>, environment: &Environment, errors: &mut ErrorList) {
    if list.list().len() > MAX_MATCH_CONDITIONS {
        list.too_many(errors, MAX_MATCH_CONDITIONS);
    }
    let mut seen = HashSet::new();
    for condition in list.items() {
        let name = condition.field("name");
        check_expression(&condition.field("expression"), "", (environment, Expected::Bool), errors);
        if name.need(errors) {
            name.format(errors, names::qualified_name);
            if !seen.insert(object::str_at(condition.value, "name")) {
                name.duplicate(errors);
            }
        }
    }
}

/// Refuses one that is missing, and one that cannot mean what it should. Answers the type of its result, if it has one.
pub(crate) fn check_expression(
    expression: &At<'_>,
    detail: &str,
    (environment, expected): (&Environment, Expected),
    errors: &mut ErrorList,
) -> Option<Type> {
    let text = expression.str().trim();
    if text.is_empty() {
        expression.required(errors, detail);
        return None;
    }
    match Expression::checked(text, environment, expected) {
        Ok(compiled) => Some(compiled.kind().clone()),
        Err(why) => {
            expression.invalid(errors, &why);
            None
        }
    }
}

/// `matchConstraints` of a policy, `matchResources` of a binding.
pub(crate) fn validate_match_resources(at: &At<'_>, errors: &mut ErrorList) {
    let policy = at.field("matchPolicy");
    if policy.present() {
        policy.exactly_one_of(errors, &["Equivalent", "Exact"]);
    } else {
        policy.required(errors, "");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = at.field(field);
        if selector.present() {
            selectors::label_selector(&selector, errors);
        } else {
            selector.required(errors, "");
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in at.field(list).items() {
            validate_names(&rule.field("resourceNames"), errors);
            validate_rule(&rule, errors);
        }
    }
}

fn validate_names(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for name in list.items() {
        name.format(errors, names::path_segment);
        if !seen.insert(name.value.as_str()) {
            name.duplicate(errors);
        }
    }
}

/// `failurePolicy` of a policy.
pub(crate) fn validate_failure_policy(policy: &At<'_>, errors: &mut ErrorList) {
    if policy.present() {
        policy.exactly_one_of(errors, &["Fail", "Ignore"]);
    } else {
        policy.required(errors, "");
    }
}

/// `paramKind` of a policy.
pub(crate) fn validate_param_kind(kind: &At<'_>, errors: &mut ErrorList) {
    if !kind.present() {
        return;
    }
    validate_param_version(&kind.field("apiVersion"), errors);
    let name = kind.field("kind");
    if name.need(errors) {
        let messages = names::dns1035_label(&name.str().to_ascii_lowercase());
        if !messages.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
            name.invalid(errors, &detail);
        }
    }
}

fn validate_param_version(at: &At<'_>, errors: &mut ErrorList) {
    if !at.need(errors) {
        return;
    }
    let text = at.str();
    if text.matches('/').count() > 1 {
        return at.invalid(errors, &format!("unexpected GroupVersion string: {text}"));
    }
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let mut check = |part: &str, messages: Vec<String>| {
        if !messages.is_empty() {
            errors.invalid(&at.path(), &Value::from(part), &messages.join(","));
        }
    };
    if !group.is_empty() {
        check(group, names::dns1123_subdomain(group));
    }
    if version.is_empty() {
        check(text, vec!["version must be specified".to_owned()]);
    } else {
        check(version, names::dns1035_label(version));
    }
}

/// `paramRef` of a binding.
pub(crate) fn validate_param_ref(reference: &At<'_>, errors: &mut ErrorList) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if !reference.present() {
        return;
    }
    let (name, selector) = (reference.field("name"), reference.field("selector"));
    if !name.is_empty() {
        name.format(errors, names::path_segment);
        if selector.present() {
            name.forbidden(errors, EXCLUSIVE);
        }
    }
    if selector.present() {
        selectors::label_selector(&selector, errors);
        if !name.is_empty() {
            selector.forbidden(errors, EXCLUSIVE);
        }
    }
    if name.is_empty() && !selector.present() {
        reference.required(errors, "one of name or selector must be specified");
    }
    let action = reference.field("parameterNotFoundAction");
    if action.need(errors) && !ACTIONS.contains(&action.str()) {
        action.unsupported_listed(errors, &ACTIONS);
    }
}

/// Defaults of every rule and policy that are inside of lists: scope, match policy, selectors.
pub(crate) fn default_match_resources(at: &mut Value) {
    if !at.is_object() {
        return;
    }
    let empty = || Value::Object(serde_json::Map::new());
    let defaults: BTreeMap<&str, Value> =
        [("matchPolicy", Value::from("Equivalent")), ("namespaceSelector", empty()), ("objectSelector", empty())]
            .into();
    for (field, value) in defaults {
        if child(at, field).is_null() {
            at[field] = value;
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in at.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if child(rule, "scope").is_null() && rule.is_object() {
                rule["scope"] = "*".into();
            }
        }
    }
}
