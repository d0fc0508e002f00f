//! What schemas of custom resources may say, structure aside: keywords that are not supported, kinds of lists and
//! maps, rules, defaults.

use std::collections::HashSet;

use api_cel::{Expected, Expression};
use api_machinery::{ErrorList, Value};

use crate::at::{At, child, is_empty};
use crate::list::apiextensions_schema::{COMBINATIONS, MAX_DEPTH};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What is known of where a schema stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    is_root: bool,
    inside_metadata: bool,
    /// Why there may be no default; empty: there may.
    no_default: &'p str,
}

impl Place<'_> {
    pub(crate) const ROOT: Self = Place { is_root: true, inside_metadata: false, no_default: "" };
}

pub(crate) fn validate(schema: &At<'_>, place: Place<'_>, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    validate_keywords(schema, place, errors);
    let below = Place { is_root: false, ..place };
    validate_properties(schema, place, depth, errors);
    validate(&schema.field("not"), below, depth + 1, errors);
    for field in COMBINATIONS {
        for nested in schema.field(field).items() {
            validate(&nested, below, depth + 1, errors);
        }
    }
    for (_, nested) in schema.field("definitions").entries() {
        validate(&nested, below, depth + 1, errors);
    }
    let items = schema.field("items");
    validate(&items, below, depth + 1, errors);
    for nested in items.items() {
        validate(&nested, below, depth + 1, errors);
    }
    validate_map(schema, errors);
    validate_list(schema, errors);
    validate_map_keys(schema, errors);
    for rule in schema.field("x-kubernetes-validations").items() {
        validate_rule(&rule, errors);
    }
}

fn validate_keywords(schema: &At<'_>, place: Place<'_>, errors: &mut ErrorList) {
    let kind = schema.field("type");
    if !kind.is_empty() && !TYPES.contains(&kind.str()) {
        kind.unsupported(errors, &TYPES);
    }
    if schema.field("default").present() && !place.no_default.is_empty() {
        schema.field("default").forbidden(errors, &format!("must not be set {}", place.no_default));
    }
    for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let at = schema.field(field);
        let said =
            if matches!(field, "id" | "patternProperties" | "definitions") { !at.is_empty() } else { at.present() };
        if said {
            at.forbidden(errors, &format!("{field} is not supported"));
        }
    }
    if kind.str() == "null" {
        kind.forbidden(errors, "type cannot be set to null, use nullable as an alternative");
    }
    if !schema.field("items").list().is_empty() {
        schema.field("items").forbidden(errors, "items must be a schema object and not an array");
    }
    if place.inside_metadata && schema.field("x-kubernetes-embedded-resource").flag() {
        let detail = "must not be used inside of resource meta";
        schema.field("x-kubernetes-embedded-resource").forbidden(errors, detail);
    }
    if schema.field("uniqueItems").flag() {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        schema.field("uniqueItems").forbidden(errors, detail);
    }
}

fn validate_properties(schema: &At<'_>, place: Place<'_>, depth: usize, errors: &mut ErrorList) {
    let (properties, more) = (schema.field("properties"), schema.field("additionalProperties"));
    if more.present() && !properties.is_empty() && more.value != &Value::Bool(true) {
        more.forbidden(errors, "additionalProperties and properties are mutual exclusive");
    }
    let no_default = if place.inside_metadata {
        "inside additionalProperties applying to object metadata"
    } else {
        place.no_default
    };
    validate(&more, Place { is_root: false, no_default, ..place }, depth + 1, errors);
    let is_object = place.is_root || schema.field("x-kubernetes-embedded-resource").flag();
    for (name, property) in properties.entries() {
        let of_metadata = is_object && matches!(name, "metadata" | "kind" | "apiVersion");
        let reason = format!("in top-level {name}");
        let no_default = if of_metadata && place.is_root { reason.as_str() } else { place.no_default };
        let inside_metadata = place.inside_metadata || of_metadata;
        validate(&property, Place { is_root: false, inside_metadata, no_default }, depth + 1, errors);
    }
}

/// A type that an extension asks for.
fn need_type(schema: &At<'_>, wanted: &str, extension: &str, errors: &mut ErrorList) -> bool {
    let kind = schema.field("type");
    let detail = format!("must be {wanted} if {extension} is specified");
    match kind.str() {
        "" => kind.required(errors, &detail),
        other if other != wanted => kind.invalid(errors, &detail),
        _ => return true,
    }
    false
}

fn validate_map(schema: &At<'_>, errors: &mut ErrorList) {
    let preserve = schema.field("x-kubernetes-preserve-unknown-fields");
    if preserve.value == &Value::Bool(false) {
        preserve.invalid(errors, "must be true or undefined");
    }
    let map = schema.field("x-kubernetes-map-type");
    if map.present() {
        need_type(schema, "object", "x-kubernetes-map-type", errors);
        map.exactly_one_of(errors, &["atomic", "granular"]);
    }
}

fn validate_list(schema: &At<'_>, errors: &mut ErrorList) {
    let (list, keys) = (schema.field("x-kubernetes-list-type"), schema.field("x-kubernetes-list-map-keys"));
    let items = schema.field("items");
    if list.present() {
        if need_type(schema, "array", "x-kubernetes-list-type", errors) && list.str() == "set" {
            validate_items_of_set(&items, errors);
        }
        list.exactly_one_of(errors, &["atomic", "set", "map"]);
    }
    if !keys.is_empty() && list.str() != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        if list.present() { list.invalid(errors, detail) } else { list.required(errors, detail) }
    }
    if list.str() == "map" {
        validate_items_of_map(&items, &keys, errors);
    }
}

/// What is compared as a whole must not be merged.
fn validate_items_of_set(items: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list, map) = (items.field("x-kubernetes-list-type"), items.field("x-kubernetes-map-type"));
    match items.field("type").str() {
        "array" if list.present() && list.str() != "atomic" => list.invalid(errors, DETAIL),
        "object" if map.str() != "atomic" => map.invalid(errors, DETAIL),
        _ => {}
    }
}

fn validate_items_of_map(items: &At<'_>, keys: &At<'_>, errors: &mut ErrorList) {
    if keys.is_empty() {
        keys.required(errors, "must not be empty if x-kubernetes-list-type is map");
    }
    let kind = items.field("type");
    if !items.present() {
        return items.required(errors, "must have a schema if x-kubernetes-list-type is map");
    }
    if items.value.is_array() {
        return items.invalid(errors, "must only have a single schema if x-kubernetes-list-type is map");
    }
    if kind.str() != "object" {
        let shown = Value::from(kind.str());
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.invalid(&kind.path(), &shown, detail);
    }
    let properties = items.field("properties");
    let mut seen = HashSet::new();
    for key in keys.list().iter().filter_map(Value::as_str) {
        let property = properties.key(key);
        if !property.present() {
            keys.invalid(errors, "entries must all be names of item properties");
        } else if matches!(property.field("type").str(), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.invalid(&property.field("type").path(), kind.value, detail);
        }
        if !seen.insert(key) {
            keys.invalid(errors, "must not contain duplicate entries");
        }
    }
}

/// Every item must have its keys, as set or by default.
fn validate_map_keys(schema: &At<'_>, errors: &mut ErrorList) {
    let (list, items) = (schema.field("x-kubernetes-list-type"), schema.field("items"));
    if !matches!(list.str(), "map" | "set") || !items.value.is_object() {
        return;
    }
    if items.field("nullable").flag() {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {}", list.str());
        items.field("nullable").forbidden(errors, &detail);
    }
    if list.str() == "set" {
        return;
    }
    let properties = items.field("properties");
    let required = child(items.value, "required");
    for key in schema.field("x-kubernetes-list-map-keys").list().iter().filter_map(Value::as_str) {
        let property = properties.key(key);
        if !property.present() {
            continue;
        }
        let needed = required.as_array().is_some_and(|names| names.iter().any(|name| name == key));
        if !needed && !property.field("default").present() {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            property.field("default").required(errors, detail);
        }
        if property.field("nullable").flag() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            property.field("nullable").forbidden(errors, detail);
        }
    }
}

/// Of a rule that is there: it speaks of a value and what that was before.
fn check(text: &At<'_>, expected: Expected, errors: &mut ErrorList) {
    let written = Some(text.str().trim()).filter(|text| !text.is_empty());
    if let Some(Err(why)) = written.map(|text| Expression::checked(text, &["oldSelf", "self"], expected)) {
        text.invalid(errors, &why);
    }
}

fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let has_breaks = |text: &str| text.contains(['\n', '\r']);
    let (text, message, path) = (rule.field("rule"), rule.field("message"), rule.field("fieldPath"));
    if text.str().trim().is_empty() {
        text.required(errors, "rule is not specified");
    } else if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, "must be non-empty if specified");
    } else if has_breaks(message.str().trim()) {
        message.invalid(errors, "must not contain line breaks");
    } else if has_breaks(text.str().trim()) && message.is_empty() {
        message.required(errors, "message must be specified if rule contains line breaks");
    }
    check(&text, Expected::Bool, errors);
    let expression = rule.field("messageExpression");
    if !expression.is_empty() && expression.str().trim().is_empty() {
        expression.required(errors, "messageExpression must be non-empty if specified");
    }
    check(&expression, Expected::String, errors);
    rule.field("reason").one_of_if_present(errors, &REASONS);
    if !path.is_empty() && path.str().trim().is_empty() {
        path.invalid(errors, "must be non-empty if specified");
    }
    if has_breaks(path.str()) {
        path.invalid(errors, "must not contain line breaks");
    }
    if !path.is_empty() && !path.str().trim_start().starts_with(['.', '[']) {
        path.invalid(errors, "must be a valid path");
    }
}

/// Defaults must be what they are the default of.
pub(crate) fn validate_defaults(schema: &At<'_>, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    let default = schema.field("default");
    if default.present() {
        validate_value(&default, schema.value, depth, errors);
    }
    validate_defaults(&schema.field("items"), depth + 1, errors);
    for (_, property) in schema.field("properties").entries() {
        validate_defaults(&property, depth + 1, errors);
    }
}

fn validate_value(at: &At<'_>, schema: &Value, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.is_object() {
        return;
    }
    let kind = child(schema, "type").as_str().unwrap_or("");
    let free = child(schema, "x-kubernetes-int-or-string") == &Value::Bool(true);
    if !free && !kind.is_empty() && !fits(at.value, kind) {
        let detail = format!("default in body must be of type {kind}: {:?}", type_of(at.value));
        return errors.type_invalid(&at.path(), at.value, &detail);
    }
    validate_enum(at, schema, errors);
    let (properties, more) = (child(schema, "properties"), child(schema, "additionalProperties"));
    let open = child(schema, "x-kubernetes-preserve-unknown-fields") == &Value::Bool(true) || !is_empty(more);
    for (key, value) in at.entries() {
        match properties.get(key) {
            Some(of_key) => validate_value(&value, of_key, depth + 1, errors),
            None if open => validate_value(&value, more, depth + 1, errors),
            None => at.invalid(errors, "must not have unknown fields"),
        }
    }
    for name in child(schema, "required").as_array().into_iter().flatten().filter_map(Value::as_str) {
        if at.value.is_object() && at.value.get(name).is_none() {
            at.field(name).required(errors, "");
        }
    }
    for item in at.items() {
        validate_value(&item, child(schema, "items"), depth + 1, errors);
    }
}

fn validate_enum(at: &At<'_>, schema: &Value, errors: &mut ErrorList) {
    let Some(all) = child(schema, "enum").as_array() else { return };
    if !all.contains(at.value) {
        let shown: Vec<String> =
            all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        at.unsupported(errors, &shown);
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        _ => "object",
    }
}

fn fits(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}
