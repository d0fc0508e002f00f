//! Validation of device claims: of claims, and of templates of them.

use std::collections::HashSet;

use api_cel::{Environment, Expected, Expression};
use api_machinery::{ErrorList, Value, names, object};

use crate::at::{ABOVE_ZERO, At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_slice_devices as slice_devices;

const MAX: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
/// Bytes of an expression, and of the parameters of a driver.
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
/// What upstream's compiler says of no expression at all.
const NO_EXPRESSION: &str = "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' \
                             expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
                             NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A list that may be only so long. One that is too long is not looked into; answers whether it was.
pub(crate) fn validate_list(
    list: &At<'_>,
    most: usize,
    errors: &mut ErrorList,
    validate: impl Fn(&At<'_>, &mut ErrorList),
) -> bool {
    if list.list().len() > most {
        list.too_many(errors, most);
        return false;
    }
    for item in list.items() {
        validate(&item, errors);
    }
    true
}

/// A list whose items have a name of their own. One that is too long is not looked into.
pub(crate) fn validate_set(
    list: &At<'_>,
    most: usize,
    key: &str,
    errors: &mut ErrorList,
    validate: impl Fn(&At<'_>, &mut ErrorList),
) {
    if !validate_list(list, most, errors, validate) {
        return;
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for item in list.items() {
        let name = if key.is_empty() { item.str() } else { object::str_at(item.value, key) };
        if !seen.insert(name) {
            errors.duplicate(&item.path(), &Value::from(name));
        }
    }
}

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let devices = spec.field("devices");
    let requests = devices.field("requests");
    validate_set(&requests, MAX, "name", errors, validate_request);
    validate_list(&devices.field("constraints"), MAX, errors, |constraint, errors| {
        validate_references(constraint, requests.value, errors);
        validate_constraint(constraint, errors);
    });
    validate_list(&devices.field("config"), MAX, errors, |config, errors| {
        validate_references(config, requests.value, errors);
        validate_opaque(config, errors);
    });
}

/// The requests that a constraint or a configuration is about.
pub(crate) fn validate_references(holder: &At<'_>, requests: &Value, errors: &mut ErrorList) {
    validate_set(&holder.field("requests"), MAX, "", errors, |reference, errors| {
        validate_reference(reference, requests, errors);
    });
}

/// `request` or `request/subrequest`.
pub(crate) fn validate_reference(reference: &At<'_>, requests: &Value, errors: &mut ErrorList) {
    const DETAIL: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let (request, alternative) = match reference.str().split_once('/') {
        Some((_, rest)) if rest.contains('/') => return reference.invalid(errors, DETAIL),
        Some((request, alternative)) => (request, Some(alternative)),
        None => (reference.str(), None),
    };
    for name in [Some(request), alternative].into_iter().flatten() {
        for message in names::dns1123_label(name) {
            errors.invalid(&reference.path(), &Value::from(name), &message);
        }
    }
    let known = named(requests, request).is_some_and(|request| {
        alternative.is_none_or(|alternative| named(child(request, "firstAvailable"), alternative).is_some())
    });
    if !known {
        reference.invalid(errors, DETAIL);
    }
}

/// The last of that name, as the last one counts.
fn named<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    list.as_array()?.iter().rev().find(|one| object::str_at(one, "name") == name)
}

fn validate_constraint(constraint: &At<'_>, errors: &mut ErrorList) {
    let (matching, distinct) = (constraint.field("matchAttribute"), constraint.field("distinctAttribute"));
    let attribute = if matching.present() { matching } else { distinct };
    if !attribute.present() {
        let detail =
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        return constraint.required(errors, detail);
    }
    slice_devices::validate_qualified_name(&attribute, attribute.str(), errors);
    if !attribute.str().contains('/') {
        attribute.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// Configuration for a driver; the API knows no other.
pub(crate) fn validate_opaque(config: &At<'_>, errors: &mut ErrorList) {
    let opaque = config.field("opaque");
    if !opaque.present() {
        return opaque.required(errors, "");
    }
    validate_driver_name(&opaque.field("driver"), errors);
    validate_json_object(&opaque.field("parameters"), MAX_PARAMETERS, errors);
}

/// A JSON object of at most so many bytes, which is not shown when it is something else.
pub(crate) fn validate_json_object(at: &At<'_>, most: usize, errors: &mut ErrorList) {
    if !at.present() {
        at.required(errors, "");
    } else if at.value.to_string().len() > most {
        at.too_long(errors, most);
    } else if !at.value.is_object() {
        errors.invalid(&at.path(), &"<value omitted>".into(), "must be a valid JSON object");
    }
}

fn validate_request(request: &At<'_>, errors: &mut ErrorList) {
    request.field("name").format(errors, names::dns1123_label);
    let (exactly, first) = (request.field("exactly"), request.field("firstAvailable"));
    match (exactly.present(), !first.is_empty()) {
        (false, false) => request.required(errors, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(&request.path(), &Value::Null, detail);
        }
        (true, false) => validate_exact(&exactly, errors),
        (false, true) => validate_set(&first, MAX_ALTERNATIVES, "name", errors, |alternative, errors| {
            alternative.field("name").format(errors, names::dns1123_label);
            validate_exact(alternative, errors);
        }),
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
        "ExactCount" if number <= 0 => errors.invalid(&count.path(), &Value::from(number), ABOVE_ZERO),
        "ExactCount" => {}
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
    // Upstream documents how many there may be, and takes more.
    for toleration in request.field("tolerations").items() {
        validate_toleration(&toleration, errors);
    }
}

fn validate_toleration(toleration: &At<'_>, errors: &mut ErrorList) {
    toleration.field("key").format_if_set(errors, names::qualified_name);
    let (operator, value) = (toleration.field("operator"), toleration.field("value"));
    match operator.str() {
        "Exists" if !value.is_empty() => value.invalid(errors, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => value.format(errors, names::label_value),
        "" => operator.required(errors, ""),
        _ => operator.unsupported(errors, &["Equal", "Exists"]),
    }
    toleration.field("effect").one_of(errors, &["NoExecute", "NoSchedule", "None"]);
}

pub(crate) fn validate_selectors(selectors: &At<'_>, errors: &mut ErrorList) {
    validate_list(selectors, MAX, errors, |selector, errors| {
        let cel = selector.field("cel");
        if cel.present() {
            validate_expression(&cel.field("expression"), errors);
        } else {
            cel.required(errors, "");
        }
    });
}

fn validate_expression(expression: &At<'_>, errors: &mut ErrorList) {
    if expression.str().len() > MAX_EXPRESSION {
        expression.too_long(errors, MAX_EXPRESSION);
    } else if expression.is_empty() {
        errors.invalid(&expression.path(), &Value::from(""), NO_EXPRESSION);
    } else if let Err(why) = Expression::checked(expression.str(), &Environment::device(), Expected::BoolOrUnknown) {
        expression.invalid(errors, &why);
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
