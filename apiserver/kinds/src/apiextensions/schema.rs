//! Structural schemas of custom resources: every field has one type, said outside of `allOf`, `anyOf`, `oneOf` and
//! `not`, and metadata is Kubernetes' own.

use api_machinery::{ErrorList, Value};

use crate::at::{At, child};
use crate::list::apiextensions_pattern as pattern;

/// Deeper schemas are not looked into; the decoder bounds nesting before.
pub(crate) const MAX_DEPTH: usize = 100;

/// What may be said beside of a type: alternatives and combinations.
pub(crate) const COMBINATIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// The fields of a schema that hold schemas, and whether these have names.
const WITHIN: [(&str, bool); 11] = [
    ("items", false),
    ("allOf", false),
    ("anyOf", false),
    ("oneOf", false),
    ("not", false),
    ("properties", true),
    ("additionalProperties", false),
    ("patternProperties", true),
    ("additionalItems", false),
    ("definitions", true),
    ("dependencies", true),
];

/// Where a schema stands: what is said of an absent type depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether something is true of a schema, or of one that is in it; the rest is not looked at then.
pub(crate) fn any(schema: &Value, is: &mut dyn FnMut(&Value) -> bool) -> bool {
    if !schema.is_object() {
        return false;
    }
    if is(schema) {
        return true;
    }
    for (field, have_names) in WITHIN {
        let found = match child(schema, field) {
            Value::Array(list) => list.iter().any(|one| any(one, is)),
            Value::Object(named) if have_names => named.values().any(|one| any(one, is)),
            one => any(one, is),
        };
        if found {
            return true;
        }
    }
    false
}

/// Of a schema as a whole.
pub(crate) fn validate_structure(schema: &At<'_>, errors: &mut ErrorList) {
    validate(schema, Level::Root, 0, errors);
}

fn validate(schema: &At<'_>, level: Level, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    let (kind, items, more) = (schema.field("type"), schema.field("items"), schema.field("additionalProperties"));
    if kind.str() == "array" && !items.present() {
        items.required(errors, "must be specified");
    }
    validate(&items, Level::Item, depth + 1, errors);
    for (_, property) in schema.field("properties").entries() {
        validate(&property, Level::Field, depth + 1, errors);
    }
    if more.present() && level == Level::Root {
        more.forbidden(errors, "must not be used at the root");
    }
    validate(&more, Level::Field, depth + 1, errors);
    validate_extensions(schema, errors);
    validate_combinations(schema, depth, errors);
    validate_type(schema, level, errors);
    validate_metadata(schema, level, errors);
}

fn validate_extensions(schema: &At<'_>, errors: &mut ErrorList) {
    if !schema.field("x-kubernetes-int-or-string").flag() {
        return;
    }
    for field in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if schema.field(field).flag() {
            schema.field(field).invalid(errors, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

fn validate_type(schema: &At<'_>, level: Level, errors: &mut ErrorList) {
    let kind = schema.field("type");
    let embedded = schema.field("x-kubernetes-embedded-resource").flag();
    let open = schema.field("x-kubernetes-int-or-string").flag()
        || schema.field("x-kubernetes-preserve-unknown-fields").flag();
    match (embedded, kind.str()) {
        (true, "object") => {}
        (true, "") => kind.required(errors, "must be object if x-kubernetes-embedded-resource is true"),
        (true, _) => kind.invalid(errors, "must be object if x-kubernetes-embedded-resource is true"),
        (false, "") if !open => {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            kind.required(errors, detail);
        }
        _ => {}
    }
    if level == Level::Root && !kind.is_empty() && kind.str() != "object" {
        kind.invalid(errors, "must be object at the root");
    }
    if embedded && schema.field("additionalProperties").present() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        schema.field("additionalProperties").forbidden(errors, detail);
    }
    if embedded && !schema.field("x-kubernetes-preserve-unknown-fields").flag() && schema.field("properties").is_empty()
    {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        schema.field("properties").required(errors, detail);
    }
}

/// Of objects, and of what is embedded as one.
fn validate_metadata(schema: &At<'_>, level: Level, errors: &mut ErrorList) {
    let properties = schema.field("properties");
    if level != Level::Root && !schema.field("x-kubernetes-embedded-resource").flag() {
        return;
    }
    for field in ["kind", "apiVersion"] {
        let (property, kind) = (properties.key(field), "type");
        if property.present() && property.field(kind).str() != "string" {
            let shown = Value::from(property.field(kind).str());
            errors.invalid(&property.field(kind).path(), &shown, "must be string");
        }
    }
    let metadata = properties.key("metadata");
    if !metadata.present() {
        return;
    }
    let kind = metadata.field("type");
    if kind.str() != "object" {
        errors.invalid(&kind.path(), &Value::from(kind.str()), "must be object");
    }
    let says_more = metadata.entries().any(|(key, at)| match key {
        "type" | "default" => false,
        "properties" => at.entries().any(|(name, _)| !matches!(name, "name" | "generateName")),
        _ => !at.is_empty() && at.value != &Value::Bool(false),
    });
    if level == Level::Root && says_more {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        metadata.forbidden(errors, detail);
    }
}

fn is_int_or_string(list: &Value) -> bool {
    list == &serde_json::json!([{"type": "integer"}, {"type": "string"}])
}

/// `anyOf` of integer and string is how an int-or-string is said, there or in the first of `allOf`.
fn validate_combinations(schema: &At<'_>, depth: usize, errors: &mut ErrorList) {
    let first_of_all = schema.field("allOf").list().first();
    let skip_any = is_int_or_string(child(schema.value, "anyOf"));
    let skip_first = first_of_all.is_some_and(|first| is_int_or_string(child(first, "anyOf")));
    validate_values(schema, skip_any, skip_first, depth, errors);
}

fn validate_values(schema: &At<'_>, skip_any: bool, skip_first: bool, depth: usize, errors: &mut ErrorList) {
    for field in COMBINATIONS.into_iter().filter(|field| *field != "anyOf" || !skip_any) {
        for (index, nested) in schema.field(field).items().enumerate() {
            let skip = field == "allOf" && index == 0 && skip_first;
            validate_nested(&nested, skip, depth + 1, errors);
        }
    }
    validate_nested(&schema.field("not"), false, depth + 1, errors);
    let at = schema.field("pattern");
    if let Some(why) = pattern::is_wrong(at.str()) {
        at.invalid(errors, &format!("must be a valid regular expression, but isn't: {why}"));
    }
}

/// A combination says values only, no types.
fn validate_nested(schema: &At<'_>, skip_any: bool, depth: usize, errors: &mut ErrorList) {
    const FORBIDDEN: [(&str, &str); 13] = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    validate_values(schema, skip_any, false, depth, errors);
    validate_nested(&schema.field("items"), false, depth + 1, errors);
    for (_, property) in schema.field("properties").entries() {
        validate_nested(&property, false, depth + 1, errors);
    }
    for (field, detail) in FORBIDDEN {
        let at = schema.field(field);
        let said = match field {
            "default" | "x-kubernetes-list-type" | "x-kubernetes-map-type" => at.present(),
            "additionalProperties" => at.present() && at.value != &Value::Bool(false),
            _ => !at.is_empty() && at.value != &Value::Bool(false),
        };
        if said {
            at.forbidden(errors, detail);
        }
    }
    let properties = schema.field("properties");
    if properties.key("metadata").present() {
        properties.key("metadata").forbidden(errors, "must not be specified in a nested context");
    }
}
