//! What schemas of custom resources may say, structure aside: keywords that are not supported, kinds of lists and
//! maps, rules.

use std::collections::HashSet;

use api_cel::Type;
use api_machinery::{ErrorList, Value};

use crate::at::{At, child};
use crate::list::apiextensions_expressions::{self as expressions, Subject};
use crate::list::apiextensions_ratchet::Demands;
use crate::list::apiextensions_schema::MAX_DEPTH;
use crate::list::apiextensions_shown as shown;

const LIST_TYPES: [&str; 3] = ["atomic", "set", "map"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What is known of where a schema stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    is_root: bool,
    inside_metadata: bool,
    /// Why there may be no default; empty: there may.
    no_default: &'p str,
    /// Whether the expressions of rules are looked at.
    has_expressions: bool,
    /// The list whose items cannot be told from each other when they change, or the map that changes as a whole.
    uncorrelated: Option<&'p At<'p>>,
    demands: &'p Demands<'p>,
}

/// Schemas that are looked at for the types in rules of one definition: those with rules lie within each other.
const MAX_STEPS: usize = 500_000;

/// Expressions are told of behind everything else.
struct Findings {
    schemas: ErrorList,
    expressions: ErrorList,
    /// What is left of [`MAX_STEPS`].
    steps: usize,
}

/// Of a schema as a whole. Expressions are looked at where the schema `is_sound`.
pub(crate) fn validate_root(schema: &At<'_>, is_sound: bool, demands: &Demands<'_>, errors: &mut ErrorList) {
    let place = Place {
        is_root: true,
        inside_metadata: false,
        no_default: "",
        has_expressions: is_sound,
        uncorrelated: None,
        demands,
    };
    let mut found = Findings { schemas: ErrorList::new(), expressions: ErrorList::new(), steps: MAX_STEPS };
    validate(schema, place, 0, &mut found);
    errors.append(found.schemas);
    errors.append(found.expressions);
}

fn validate(schema: &At<'_>, place: Place<'_>, depth: usize, found: &mut Findings) {
    if depth > MAX_DEPTH || !schema.value.is_object() {
        return;
    }
    let before = found.schemas.len();
    validate_keywords(schema, place, &mut found.schemas);
    validate_properties(schema, place, depth, found);
    let aside = Place { is_root: false, has_expressions: false, ..place };
    validate(&schema.field("not"), aside, depth + 1, found);
    for field in ["allOf", "oneOf", "anyOf"] {
        for nested in schema.field(field).items() {
            validate(&nested, aside, depth + 1, found);
        }
    }
    for (_, nested) in schema.field("definitions").entries() {
        validate(&nested, aside, depth + 1, found);
    }
    let items = schema.field("items");
    let is_map = schema.field("x-kubernetes-list-type").str() == "map";
    let uncorrelated = if is_map { place.uncorrelated } else { place.uncorrelated.or(Some(schema)) };
    let below = Place { is_root: false, uncorrelated, ..place };
    validate(&items, below, depth + 1, found);
    for nested in items.items() {
        validate(&nested, below, depth + 1, found);
    }
    for (_, nested) in schema.field("dependencies").entries() {
        validate(&nested, aside, depth + 1, found);
    }
    validate_map(schema, &mut found.schemas);
    validate_list(schema, place.demands, &mut found.schemas);
    if place.demands.sound_keys {
        validate_map_keys(schema, &mut found.schemas);
    }
    validate_rules(schema, place, before, found);
}

/// `before`: what was found before this schema and what is in it.
fn validate_rules(schema: &At<'_>, place: Place<'_>, before: usize, found: &mut Findings) {
    let rules = schema.field("x-kubernetes-validations");
    for rule in rules.items() {
        expressions::validate_rule(&rule, schema.value, &mut found.schemas);
    }
    if place.has_expressions && found.schemas.len() == before && !rules.is_empty() {
        let is_resource = place.is_root || schema.field("x-kubernetes-embedded-resource").flag();
        let kind = api_cel::of_schema(schema.value, is_resource, &mut found.steps).unwrap_or(Type::Dyn);
        let subject = Subject { kind: &kind, uncorrelated: place.uncorrelated };
        for rule in rules.items() {
            expressions::validate_expressions(&rule, subject, &mut found.expressions);
        }
    }
}

fn validate_keywords(schema: &At<'_>, place: Place<'_>, errors: &mut ErrorList) {
    let kind = schema.field("type");
    if place.demands.known_types && has_unknown_type(schema.value) {
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

pub(crate) fn has_unknown_type(schema: &Value) -> bool {
    let kind = child(schema, "type").as_str().unwrap_or("");
    !kind.is_empty() && !TYPES.contains(&kind)
}

fn validate_properties(schema: &At<'_>, place: Place<'_>, depth: usize, found: &mut Findings) {
    let (properties, more) = (schema.field("properties"), schema.field("additionalProperties"));
    if more.present() && !properties.is_empty() && more.value != &Value::Bool(true) {
        more.forbidden(&mut found.schemas, "additionalProperties and properties are mutual exclusive");
    }
    let no_default = if place.inside_metadata {
        "inside additionalProperties applying to object metadata"
    } else {
        place.no_default
    };
    validate(&more, Place { is_root: false, no_default, ..place }, depth + 1, found);
    let is_object = place.is_root || schema.field("x-kubernetes-embedded-resource").flag();
    let map = schema.field("x-kubernetes-map-type");
    let is_whole = map.present() && map.str() != "granular";
    let uncorrelated = if is_whole { place.uncorrelated.or(Some(schema)) } else { place.uncorrelated };
    for (name, property) in properties.entries() {
        let of_metadata = is_object && matches!(name, "metadata" | "kind" | "apiVersion");
        let reason = format!("in top-level {name}");
        let no_default = if of_metadata && place.is_root { reason.as_str() } else { place.no_default };
        let inside_metadata = place.inside_metadata || of_metadata;
        let inside = Place { is_root: false, inside_metadata, no_default, uncorrelated, ..place };
        validate(&property, inside, depth + 1, found);
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

fn validate_list(schema: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) {
    let (list, keys) = (schema.field("x-kubernetes-list-type"), schema.field("x-kubernetes-list-map-keys"));
    let items = schema.field("items");
    if list.present() {
        if need_type(schema, "array", "x-kubernetes-list-type", errors) && list.str() == "set" && demands.atomic_sets {
            validate_items_of_set(&items, errors);
        }
        if !LIST_TYPES.contains(&list.str()) {
            list.unsupported_listed(errors, &LIST_TYPES);
        }
    }
    if !keys.is_empty() && list.str() != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        if list.present() { list.invalid(errors, detail) } else { list.required(errors, detail) }
    }
    if list.str() == "map" {
        validate_items_of_map(&items, &keys, errors);
    }
}

/// Whether items of a set, which are compared as a whole, are merged part by part.
fn are_items_parts(items: &Value) -> bool {
    match child(items, "type").as_str() {
        Some("array") => child(items, "x-kubernetes-list-type").as_str().is_some_and(|list| list != "atomic"),
        Some("object") => child(items, "x-kubernetes-map-type") != "atomic",
        _ => false,
    }
}

pub(crate) fn has_set_of_parts(schema: &Value) -> bool {
    child(schema, "x-kubernetes-list-type") == "set" && are_items_parts(child(schema, "items"))
}

fn validate_items_of_set(items: &At<'_>, errors: &mut ErrorList) {
    if !are_items_parts(items.value) {
        return;
    }
    let is_list = items.field("type").str() == "array";
    let field = if is_list { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" };
    // Upstream shows the type of list in both cases.
    let shown = child(items.value, "x-kubernetes-list-type");
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    errors.invalid(&items.field(field).path(), shown, detail);
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
        let detail = "must only have a single schema if x-kubernetes-list-type is map";
        return shown::invalid(&items.path(), &shown::items(items.value), detail, errors);
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

pub(crate) fn has_unsound_keys(schema: &Value) -> bool {
    let mut errors = ErrorList::new();
    validate_map_keys(&At::root(schema), &mut errors);
    !errors.is_empty()
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
