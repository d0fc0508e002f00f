//! Structural schemas of custom resources.

use api_machinery::{ErrorList, Value};

use crate::at::{At, child, is_empty};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Deeper schemas are not looked into; the decoder bounds nesting before.
const MAX_DEPTH: usize = 100;

/// The schema of a version: an object whose metadata is Kubernetes' own.
pub(crate) fn validate_root(schema: &At<'_>, errors: &mut ErrorList) {
    let kind = schema.field("type");
    if kind.is_empty() {
        kind.required(errors, "must not be empty at the root");
    } else if kind.str() != "object" {
        kind.invalid(errors, "must be object at the root");
    }
    let properties = schema.field("properties");
    let metadata = properties.key("metadata");
    let restricted = child(metadata.value, "properties").as_object().into_iter().flatten();
    if restricted.into_iter().any(|(field, _)| !matches!(field.as_str(), "name" | "generateName")) {
        metadata.forbidden(
            errors,
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
    validate(schema, 0, errors);
}

fn validate(schema: &At<'_>, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    let kind = schema.field("type");
    let flag = |name: &str| child(schema.value, name) == &Value::Bool(true);
    let open = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if kind.is_empty() {
        if depth > 0 && !open {
            kind.required(errors, "must not be empty for specified object fields");
        }
    } else if !TYPES.contains(&kind.str()) {
        kind.unsupported(errors, &TYPES);
    }
    validate_array(schema, kind.str(), errors);
    validate_default(schema, kind.str(), errors);
    for (_, property) in schema.field("properties").entries() {
        validate(&property, depth + 1, errors);
    }
    validate(&schema.field("items"), depth + 1, errors);
    validate(&schema.field("additionalProperties"), depth + 1, errors);
    let both = !is_empty(child(schema.value, "properties")) && child(schema.value, "additionalProperties").is_object();
    if both {
        let at = schema.field("additionalProperties");
        at.forbidden(errors, "additionalProperties and properties are mutual exclusive");
    }
}

fn validate_array(schema: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let items = schema.field("items");
    if kind == "array" && !items.present() {
        items.required(errors, "must be specified");
    }
    let (list, keys) = (schema.field("x-kubernetes-list-type"), schema.field("x-kubernetes-list-map-keys"));
    if !list.is_empty() && !["atomic", "map", "set"].contains(&list.str()) {
        list.unsupported(errors, &["atomic", "map", "set"]);
    }
    if list.str() != "map" {
        if !keys.is_empty() {
            list.required(errors, "must be map if x-kubernetes-list-map-keys is non-empty");
        }
        return;
    }
    if keys.is_empty() {
        keys.required(errors, "must not be empty if x-kubernetes-list-type is map");
    }
    let item_kind = items.field("type");
    if items.present() && item_kind.str() != "object" {
        item_kind.invalid(errors, "must be object if parent array's x-kubernetes-list-type is map");
    }
    let properties = child(items.value, "properties");
    for key in keys.items() {
        if items.present() && item_kind.str() == "object" && properties.get(key.str()).is_none() {
            key.invalid(errors, "entries must all be names of item properties");
        }
    }
}

/// The default must be of the type it is the default of.
fn validate_default(schema: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let default = schema.field("default");
    if !default.present() || kind.is_empty() || fits(default.value, kind) {
        return;
    }
    let found = match default.value {
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        _ => "object",
    };
    let detail = format!("default in body must be of type {kind}: {found:?}");
    errors.type_invalid(&default.path(), default.value, &detail);
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
