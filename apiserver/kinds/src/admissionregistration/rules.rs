//! What webhook configurations and admission policies share: rules, match conditions, resources.

use std::collections::HashSet;

use std::collections::BTreeMap;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::selectors;

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";
const MAX_MATCH_CONDITIONS: usize = 64;
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// A rule of a webhook or a policy. With `*` nothing else may be named.
pub(crate) fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    validate_operations(&rule.field("operations"), &OPERATIONS, errors);
    for (field, what) in [("apiGroups", "apiGroups"), ("apiVersions", "apiVersions")] {
        let list = rule.field(field);
        if list.is_empty() {
            list.required(errors, "");
        }
        if list.list().len() > 1 && list.list().iter().any(|one| one == "*") {
            list.invalid(
                errors,
                &format!("if '*' is present, must not specify other {}", what.replace("api", "API ").to_lowercase()),
            );
        }
        for item in list.items().filter(|item| field == "apiVersions" && item.is_empty()) {
            item.required(errors, "");
        }
    }
    validate_resources(&rule.field("resources"), errors);
    rule.field("scope").one_of(errors, &["*", "Cluster", "Namespaced"]);
}

fn validate_operations(list: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if list.is_empty() {
        list.required(errors, "");
    }
    if list.list().len() > 1 && list.list().iter().any(|one| one == "*") {
        list.invalid(errors, "if '*' is present, must not specify other operations");
    }
    for operation in list.items() {
        if !supported.contains(&operation.str()) {
            operation.unsupported(errors, supported);
        }
    }
}

fn validate_resources(list: &At<'_>, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, "");
    }
    let all: Vec<&str> = list.list().iter().filter_map(Value::as_str).collect();
    let set: HashSet<&str> = all.iter().copied().collect();
    for (index, item) in list.items().enumerate() {
        let text = all.get(index).copied().unwrap_or("");
        if text.is_empty() {
            item.required(errors, "");
            continue;
        }
        let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
        let covers_all = set.contains("*/*") && text != "*/*";
        let wider = [format!("{resource}/*"), format!("*/{subresource}")];
        let covered = !subresource.is_empty() && wider.iter().any(|one| *one != text && set.contains(one.as_str()));
        if covered {
            item.invalid(errors, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if covers_all {
            list.invalid(errors, "if '*/*' is present, must not specify other resources");
            return;
        }
    }
    if all.contains(&"*") && all.len() > 1 && all.iter().any(|one| !one.contains('/') && *one != "*") {
        list.invalid(errors, "if '*' is present, must not specify other resources without subresources");
    }
}

/// Named expressions. What they say is compiled where they are run.
pub(crate) fn validate_match_conditions(list: &At<'_>, errors: &mut ErrorList) {
    if list.list().len() > MAX_MATCH_CONDITIONS {
        list.too_many(errors, MAX_MATCH_CONDITIONS);
    }
    let mut seen = HashSet::new();
    for condition in list.items() {
        let name = condition.field("name");
        if name.need(errors) {
            name.format(errors, names::qualified_name);
        }
        if !seen.insert(object::str_at(condition.value, "name")) {
            name.duplicate(errors);
        }
        if condition.field("expression").str().trim().is_empty() {
            condition.field("expression").required(errors, "");
        }
    }
}

/// `matchConstraints` of a policy, `matchResources` of a binding.
pub(crate) fn validate_match_resources(at: &At<'_>, errors: &mut ErrorList) {
    for field in ["namespaceSelector", "objectSelector"] {
        selectors::label_selector(&at.field(field), errors);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in at.field(list).items() {
            validate_rule(&rule, errors);
        }
    }
    at.field("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
}

/// `paramKind` of a policy.
pub(crate) fn validate_param_kind(kind: &At<'_>, errors: &mut ErrorList) {
    if !kind.present() {
        return;
    }
    kind.field("apiVersion").need(errors);
    kind.field("kind").need(errors);
}

/// `paramRef` of a binding.
pub(crate) fn validate_param_ref(reference: &At<'_>, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    let (name, selector) = (reference.field("name"), reference.field("selector"));
    match (name.is_empty(), selector.present()) {
        (false, true) => {
            name.forbidden(errors, "name and selector are mutually exclusive");
            selector.forbidden(errors, "name and selector are mutually exclusive");
        }
        (false, false) => name.format(errors, names::path_segment),
        (true, true) => selectors::label_selector(&selector, errors),
        (true, false) => reference.required(errors, "either name or selector must be specified"),
    }
    reference.field("namespace").format_if_set(errors, names::dns1123_label);
    reference.field("parameterNotFoundAction").need_one_of(errors, &["Allow", "Deny"]);
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
