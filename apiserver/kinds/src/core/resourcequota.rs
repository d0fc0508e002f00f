//! ResourceQuota.

use std::collections::BTreeSet;

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::list::{core_internal_json as internal, core_resource_name as resource_name};
use crate::{Kind, cells, formats, meta};

pub(crate) struct ResourceQuota;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// A pod is one or the other, never both.
const EXCLUSIVE: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// What is asked for and limited, each under a name of its own.
const BOTH: [&str; 4] = ["cpu", "memory", "storage", "ephemeral-storage"];

impl Kind for ResourceQuota {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "resourcequotas")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"hard": {"pods": "1"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_amounts(&spec.field("hard"), errors);
        validate_scopes(&spec, errors);
        validate_selector(&spec, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let scopes = root.field("spec.scopes");
        if texts(scopes.value) != texts(child(old, "spec.scopes")) {
            scopes.invalid(errors, IMMUTABLE);
        }
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for list in ["hard", "used"] {
            validate_amounts(&root.field("status").field(list), errors);
        }
    }
    /// Of new ones: more may be asked for than is the limit.
    fn warnings(&self, object: &Value) -> Vec<String> {
        let hard = child(object, "spec.hard");
        let names = BOTH.iter().filter(|_| meta::is_new(object));
        names.filter_map(|name| why_out_of_order(hard, name)).collect()
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let mut hard: Vec<(&String, &Value)> = child(object, "spec.hard").as_object().into_iter().flatten().collect();
        hard.sort_by_key(|(name, _)| name.as_str());
        for (name, most) in hard {
            let used = child(child(object, "status.used"), name).as_str().unwrap_or("0");
            let text = format!("{name}: {used}/{}", most.as_str().unwrap_or(""));
            if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        Some(vec![cells::name(object), requests.join(", ").into(), limits.join(", ").into(), cells::age(object, now)])
    }
}

fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The amounts of requests may be under the bare name, where pods have one.
fn why_out_of_order(hard: &Value, name: &str) -> Option<String> {
    let amount = |name: &str| formats::quantity(&At::root(hard.get(name)?));
    let prefixed = format!("requests.{name}");
    let bare = if matches!(name, "cpu" | "memory") { name } else { "" };
    let asked = [prefixed.as_str(), bare].into_iter().find_map(|name| Some((name, amount(name)?)));
    let (asked, request) = asked?;
    let limited = format!("limits.{name}");
    let limit = amount(&limited)?;
    (request.nano > limit.nano)
        .then(|| format!("ResourceQuota {asked} ({request}) should be less than {limited} ({limit})"))
}

fn validate_amounts(amounts: &At<'_>, errors: &mut ErrorList) {
    for (name, amount) in amounts.entries() {
        resource_name::validate_for_quota(&amount, name, errors);
        resource_name::validate_amount(&amount, name, errors);
    }
}

fn validate_scopes(spec: &At<'_>, errors: &mut ErrorList) {
    let scopes = spec.field("scopes");
    let has = |scope: &str| scopes.list().iter().any(|one| one == scope);
    for scope in scopes.list().iter().filter_map(Value::as_str) {
        if !SCOPES.contains(&scope) {
            scopes.invalid(errors, "unsupported scope");
        }
        for _ in hard(spec).filter(|name| resource_name::is_for_quota(name) && !may_scope(scope, name)) {
            scopes.invalid(errors, "unsupported scope applied to resource");
        }
    }
    for _ in EXCLUSIVE.iter().filter(|pair| pair.iter().all(|scope| has(scope))) {
        scopes.invalid(errors, "conflicting scopes");
    }
}

fn hard<'s>(spec: &At<'s>) -> impl Iterator<Item = &'s str> {
    child(spec.value, "hard").as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

/// What pods use may be scoped; the best-effort ones use only themselves.
fn may_scope(scope: &str, name: &str) -> bool {
    let of_pods =
        matches!(name, "pods" | "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory");
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => name == "persistentvolumeclaims" || name == "requests.storage",
        _ => of_pods || !SCOPES.contains(&scope),
    }
}

/// The errors name the list, not the item, as upstream's.
fn validate_selector(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.field("scopeSelector");
    let expressions = selector.field("matchExpressions");
    for expression in expressions.items() {
        let place = expressions.with(expression.value);
        let scope = place.field("scopeName");
        if !SCOPES.contains(&scope.str()) {
            errors.invalid(&scope.path(), &Value::from(scope.str()), "unsupported scope");
        }
        for _ in hard(spec).filter(|name| resource_name::is_for_quota(name) && !may_scope(scope.str(), name)) {
            let shown = internal::shown("ScopeSelector", selector.value);
            errors.invalid_printed(&expressions.path(), &shown, "unsupported scope applied to resource");
        }
        validate_operator(&place, scope.str(), errors);
    }
    let has = |scope: &&str| expressions.list().iter().any(|one| one["scopeName"] == *scope);
    for _ in EXCLUSIVE.iter().filter(|pair| pair.iter().all(&has)) {
        let scopes = spec.field("scopes");
        errors.invalid(&expressions.path(), scopes.value, "conflicting scopes");
    }
}

fn validate_operator(place: &At<'_>, scope: &str, errors: &mut ErrorList) {
    let (operator, values) = (place.field("operator"), place.field("values"));
    let by_value = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if !by_value && SCOPES.contains(&scope) && operator.str() != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                      or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(&operator.path(), &Value::from(operator.str()), detail);
    }
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => {
            values.required(errors, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.invalid(errors, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&operator.path(), &Value::from(other), "not a valid selector operator"),
    }
}
