//! What validating and mutating webhook configurations share.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};
use jiff::Timestamp;

use crate::at::{At, child};
use crate::generic::changed_besides;
use crate::list::admissionregistration_rules as rules;
use crate::{cells, selectors};

const MAX_SECONDS: i64 = 30;

pub(crate) fn generation_grows(object: &Value, old: &Value) -> bool {
    changed_besides(object, old, &["metadata"])
}

pub(crate) fn validate(object: &Value, mutating: bool, errors: &mut ErrorList) {
    let root = At::root(object);
    let mut seen = HashSet::new();
    for webhook in root.field("webhooks").items() {
        let name = object::str_at(webhook.value, "name");
        validate_webhook(&webhook, mutating, errors);
        if !name.is_empty() && seen.contains(&name) {
            webhook.field("name").duplicate(errors);
        }
        seen.insert(name);
    }
}

fn validate_webhook(webhook: &At<'_>, mutating: bool, errors: &mut ErrorList) {
    validate_name(&webhook.field("name"), errors);
    validate_versions(&webhook.field("admissionReviewVersions"), errors);
    for rule in webhook.field("rules").items() {
        rules::validate_rule(&rule, errors);
    }
    webhook.field("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
    webhook.field("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
    webhook.field("sideEffects").need_one_of(errors, &["None", "NoneOnDryRun"]);
    let seconds = webhook.field("timeoutSeconds");
    if seconds.int().is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        seconds.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selectors::label_selector(&webhook.field(field), errors);
    }
    if mutating {
        webhook.field("reinvocationPolicy").one_of(errors, &["IfNeeded", "Never"]);
    }
    validate_client(&webhook.field("clientConfig"), errors);
    rules::validate_match_conditions(&webhook.field("matchConditions"), errors);
}

/// At least three parts: `hook.example.com`.
fn validate_name(name: &At<'_>, errors: &mut ErrorList) {
    if !name.need(errors) {
        return;
    }
    name.format(errors, names::dns1123_subdomain);
    if name.str().split('.').count() < 3 {
        name.invalid(errors, "should be a domain with at least three segments separated by dots");
    }
}

fn validate_versions(versions: &At<'_>, errors: &mut ErrorList) {
    if versions.is_empty() {
        return versions.required(errors, "must specify one of v1, v1beta1");
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        let text = version.value.as_str().unwrap_or("").to_owned();
        if seen.contains(&text) {
            version.duplicate(errors);
        }
        version.format(errors, names::dns1035_label);
        seen.insert(text);
    }
    if !seen.iter().any(|version| version == "v1" || version == "v1beta1") {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}

/// Where a webhook is: a URL or a service. Also of conversion webhooks.
pub(crate) fn validate_client(client: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (client.field("url"), client.field("service"));
    match (url.present(), service.present()) {
        (false, false) | (true, true) => client.required(errors, "exactly one of url or service is required"),
        (true, false) => validate_url(&url, errors),
        (false, true) => validate_service(&service, errors),
    }
}

fn validate_url(url: &At<'_>, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = url.str().split_once("://") else {
        return url.required(errors, &format!("url must be a valid URL{FORM}"));
    };
    if scheme != "https" {
        url.invalid(errors, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        url.invalid(errors, &format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        url.invalid(errors, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        url.invalid(errors, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        url.invalid(errors, "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &At<'_>, errors: &mut ErrorList) {
    for field in ["name", "namespace"] {
        service.field(field).need(errors);
    }
    let port = service.field("port");
    if port.int().is_some_and(|port| !(1..=65_535).contains(&port)) {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = service.field("path");
    if path.is_empty() || path.str() == "/" {
        return;
    }
    if !path.str().starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
    let trimmed = path.str().strip_suffix('/').unwrap_or(path.str());
    if trimmed == "/" || trimmed.is_empty() || path.str() == "//" {
        return path.invalid(errors, "segment[0] may not be empty");
    }
    let steps: Vec<&str> = trimmed.split('/').skip(1).collect();
    if steps.is_empty() {
        path.invalid(errors, "must start with a '/'");
    }
    for (index, step) in steps.iter().enumerate() {
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
