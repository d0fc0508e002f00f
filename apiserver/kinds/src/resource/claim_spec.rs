//! Validation of device claims: of claims, and of templates of them. Expressions are compiled where they are run.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, POSITIVE};

const MAX: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_TOLERATIONS: usize = 16;
const MAX_EXPRESSION: usize = 10 * 1024;

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let devices = spec.field("devices");
    let requests = devices.field("requests");
    let mut seen: HashSet<&str> = HashSet::new();
    if requests.list().len() > MAX {
        requests.too_many(errors, MAX);
    }
    for request in requests.items() {
        let name = object::str_at(request.value, "name");
        validate_request(&request, errors);
        if seen.contains(&name) {
            errors.duplicate(&request.path(), &Value::from(name));
        }
        seen.insert(name);
    }
    for list in ["constraints", "config"] {
        let list = devices.field(list);
        if list.list().len() > MAX {
            list.too_many(errors, MAX);
        }
        for item in list.items() {
            for reference in item.field("requests").items() {
                let text = reference.value.as_str().unwrap_or("").split('/').next().unwrap_or("").to_owned();
                if !seen.contains(&text.as_str()) {
                    reference.invalid(errors, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'");
                }
            }
        }
    }
}

fn validate_request(request: &At<'_>, errors: &mut ErrorList) {
    request.field("name").format(errors, names::dns1123_label);
    let (exactly, first) = (request.field("exactly"), request.field("firstAvailable"));
    match (exactly.present(), !first.is_empty()) {
        (false, false) => request.required(errors, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => request
            .invalid(errors, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"),
        (true, false) => validate_exact(&exactly, errors),
        (false, true) => {
            if first.list().len() > MAX_ALTERNATIVES {
                first.too_many(errors, MAX_ALTERNATIVES);
            }
            for alternative in first.items() {
                alternative.field("name").format(errors, names::dns1123_label);
                validate_exact(&alternative, errors);
            }
        }
    }
}

fn validate_exact(request: &At<'_>, errors: &mut ErrorList) {
    let class = request.field("deviceClassName");
    if class.need(errors) {
        class.format(errors, names::dns1123_subdomain);
    }
    validate_selectors(&request.field("selectors"), errors);
    let (mode, count) = (request.field("allocationMode"), request.field("count"));
    let number = count.int().unwrap_or(0);
    match mode.str() {
        "All" if number != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if number <= 0 => errors.invalid(&count.path(), &Value::from(number), POSITIVE),
        "ExactCount" => {}
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
    let tolerations = request.field("tolerations");
    if tolerations.list().len() > MAX_TOLERATIONS {
        tolerations.too_many(errors, MAX_TOLERATIONS);
    }
}

pub(crate) fn validate_selectors(selectors: &At<'_>, errors: &mut ErrorList) {
    if selectors.list().len() > MAX {
        selectors.too_many(errors, MAX);
    }
    for selector in selectors.items() {
        let cel = selector.field("cel");
        if !cel.present() {
            cel.required(errors, "");
            continue;
        }
        let expression = cel.field("expression");
        if expression.str().len() > MAX_EXPRESSION {
            expression.too_long(errors, MAX_EXPRESSION);
        } else if expression.str().trim().is_empty() {
            expression.required(errors, "");
        }
    }
}

/// Defaults of every request.
pub(crate) fn default(spec: &mut Value) {
    let requests = spec.pointer_mut("/devices/requests").and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly") {
            default_exact(exactly);
        }
        for alternative in request.get_mut("firstAvailable").and_then(Value::as_array_mut).into_iter().flatten() {
            default_exact(alternative);
        }
    }
}

fn default_exact(request: &mut Value) {
    if !request.is_object() {
        return;
    }
    if object::str_at(request, "allocationMode").is_empty() {
        request["allocationMode"] = "ExactCount".into();
    }
    let unset = request.get("count").and_then(Value::as_i64).unwrap_or(0) == 0;
    if unset && request["allocationMode"] == "ExactCount" {
        request["count"] = 1.into();
    }
}
