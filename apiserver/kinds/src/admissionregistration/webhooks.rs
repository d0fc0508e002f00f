//! What validating and mutating webhook configurations share.

use std::collections::HashSet;

use api_cel::Environment;
use api_machinery::{ErrorList, Value, names, object};
use jiff::Timestamp;

use crate::at::{At, child, same};
use crate::list::{
    admissionregistration_rules as rules, admissionregistration_webhook_url as webhook_url,
    resource_immutable as immutable,
};
use crate::{cells, meta, selectors};

const MAX_SECONDS: i64 = 30;
const NO_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const ALL_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];

pub(crate) fn generation_grows(object: &Value, old: &Value) -> bool {
    !immutable::is_same(child(object, "webhooks"), child(old, "webhooks"))
}

pub(crate) fn validate(object: &Value, mutating: bool, errors: &mut ErrorList) {
    if meta::is_new(object) {
        validate_against(object, None, mutating, errors);
    }
}

pub(crate) fn validate_update(object: &Value, old: &Value, mutating: bool, errors: &mut ErrorList) {
    if !meta::is_new(object) {
        rules::validate_metadata(object, errors);
        validate_against(object, Some(cells::list(old, "webhooks")), mutating, errors);
    }
}

/// A rule that the webhooks of before do not keep, as older servers asked for less, need not be kept now.
fn validate_against(object: &Value, before: Option<&[Value]>, mutating: bool, errors: &mut ErrorList) {
    let root = At::root(object);
    let webhooks = root.field("webhooks");
    let effects = if before.is_none_or(have_no_effects) { NO_EFFECTS } else { ALL_EFFECTS };
    let versioned = before.is_none_or(name_known_versions);
    let unique = before.is_none_or(have_unique_names);
    let new_conditions = before.is_none_or(|before| !same_conditions(webhooks.list(), before));
    let mut seen = HashSet::new();
    for webhook in webhooks.items() {
        validate_webhook(&webhook, mutating, effects, errors);
        if new_conditions {
            rules::validate_match_conditions(&webhook.field("matchConditions"), &Environment::admission(), errors);
        }
        validate_versions(&webhook.field("admissionReviewVersions"), versioned, errors);
        let name = object::str_at(webhook.value, "name");
        if unique && !name.is_empty() && !seen.insert(name) {
            webhook.field("name").duplicate(errors);
        }
    }
}

fn have_no_effects(webhooks: &[Value]) -> bool {
    webhooks.iter().all(|webhook| NO_EFFECTS.contains(&object::str_at(webhook, "sideEffects")))
}

fn name_known_versions(webhooks: &[Value]) -> bool {
    let known = |version: &Value| version.as_str().is_some_and(|version| VERSIONS.contains(&version));
    webhooks
        .iter()
        .map(|webhook| cells::list(webhook, "admissionReviewVersions"))
        .all(|versions| versions.is_empty() || versions.iter().any(known))
}

fn have_unique_names(webhooks: &[Value]) -> bool {
    let mut seen = HashSet::new();
    webhooks.iter().all(|webhook| seen.insert(object::str_at(webhook, "name")))
}

fn same_conditions(now: &[Value], before: &[Value]) -> bool {
    let of = |webhook| child(webhook, "matchConditions");
    now.len() == before.len() && now.iter().zip(before).all(|(now, before)| same(of(now), of(before)))
}

fn validate_webhook(webhook: &At<'_>, mutating: bool, effects: &[&str], errors: &mut ErrorList) {
    validate_name(&webhook.field("name"), errors);
    for rule in webhook.field("rules").items() {
        rules::validate_rule(&rule, errors);
    }
    webhook.field("failurePolicy").one_of_if_present(errors, &["Fail", "Ignore"]);
    webhook.field("matchPolicy").one_of_if_present(errors, &["Equivalent", "Exact"]);
    validate_effects(&webhook.field("sideEffects"), effects, errors);
    let seconds = webhook.field("timeoutSeconds");
    if seconds.int().is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        seconds.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selectors::label_selector(&webhook.field(field), errors);
    }
    if mutating {
        webhook.field("reinvocationPolicy").one_of_if_present(errors, &["IfNeeded", "Never"]);
    }
    validate_client(&webhook.field("clientConfig"), errors);
}

fn validate_effects(effects: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    if effects.present() {
        effects.exactly_one_of(errors, allowed);
    } else {
        effects.required(errors, &format!("must specify one of {}", allowed.join(", ")));
    }
}

/// At least three parts: `hook.example.com`.
fn validate_name(name: &At<'_>, errors: &mut ErrorList) {
    if !name.need(errors) {
        return;
    }
    let messages = names::dns1123_subdomain(name.str());
    if !messages.is_empty() {
        name.invalid(errors, &messages.join(","));
    } else if name.str().split('.').count() < 3 {
        name.invalid(errors, "should be a domain with at least three segments separated by dots");
    }
}

/// The versions of reviews that servers speak.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

fn validate_versions(versions: &At<'_>, must_be_known: bool, errors: &mut ErrorList) {
    if versions.is_empty() {
        return versions.required(errors, "must specify one of v1, v1beta1");
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        if seen.insert(version.value.as_str()) {
            version.format(errors, names::dns1035_label);
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if must_be_known && !VERSIONS.iter().any(|known| seen.contains(&Some(*known))) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}

/// Where a webhook is: a URL or a service. Also of conversion webhooks.
pub(crate) fn validate_client(client: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (client.field("url"), client.field("service"));
    match (url.present(), service.present()) {
        (false, false) | (true, true) => client.required(errors, "exactly one of url or service is required"),
        (true, false) => webhook_url::validate(&url, errors),
        (false, true) => validate_service(&service, errors),
    }
}

fn validate_service(service: &At<'_>, errors: &mut ErrorList) {
    // Upstream hands these two over in the wrong order, so that each is missed under the other's name.
    for (field, shown) in [("namespace", "name"), ("name", "namespace")] {
        if service.field(field).is_empty() {
            service.field(shown).required(errors, "");
        }
    }
    let port = service.field("port");
    if !(1..=65_535).contains(&port.int().unwrap_or(0)) {
        let shown = port.int().unwrap_or(0).into();
        let detail = format!("port is not valid: {}", crate::at::PORT_RANGE);
        errors.invalid(&port.path(), &shown, &detail);
    }
    validate_path(&service.field("path"), errors);
}

fn validate_path(path: &At<'_>, errors: &mut ErrorList) {
    match path.str() {
        "" | "/" => return,
        "//" => return path.invalid(errors, "segment[0] may not be empty"),
        text if !text.starts_with('/') => path.invalid(errors, "must start with a '/'"),
        _ => {}
    }
    // The first character is skipped, whatever it is.
    let rest: &str = path.str().char_indices().nth(1).map_or("", |(start, _)| &path.str()[start..]);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            path.invalid(errors, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for message in names::dns1123_subdomain(step) {
            path.invalid(errors, &format!("segment[{index}]: {message}"));
        }
    }
}

/// Defaults of rules and services in every webhook.
pub(crate) fn default(object: &mut Value) {
    let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        for rule in webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
            if rule.is_object() && child(rule, "scope").is_null() {
                rule["scope"] = "*".into();
            }
        }
        if child(webhook, "clientConfig.service").is_object() && child(webhook, "clientConfig.service.port").is_null() {
            webhook["clientConfig"]["service"]["port"] = 443.into();
        }
    }
}

pub(crate) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![cells::name(object), cells::len(object, "webhooks").into(), cells::age(object, now)]
}
