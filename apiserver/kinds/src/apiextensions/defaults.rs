//! Defaults of a schema must be what they are the default of.

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child, is_empty};
use crate::list::apiextensions_schema::MAX_DEPTH;
use crate::list::apiextensions_values::Judge;

/// What every resource has, and the server knows.
const OF_RESOURCES: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// Enough to know that a definition is wrong.
const MAX_FOUND: usize = 1_000;

/// Where a default stands.
#[derive(Clone, Copy)]
struct Place {
    is_root: bool,
    inside_metadata: bool,
    pruned: bool,
}

/// Of a schema as a whole. `pruned`: whether defaults may only have fields that the schema knows.
pub(crate) fn validate(schema: &At<'_>, pruned: bool, errors: &mut ErrorList) {
    let place = Place { is_root: true, inside_metadata: false, pruned };
    walk(schema, place, 0, &mut Judge::new(), errors);
}

fn walk(schema: &At<'_>, place: Place, depth: usize, judge: &mut Judge, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !schema.value.is_object() || errors.len() > MAX_FOUND {
        return;
    }
    let is_resource = place.is_root || is_embedded(schema.value);
    let inside = Place { is_root: false, inside_metadata: place.inside_metadata && !is_resource, ..place };
    let default = schema.field("default");
    if default.present() {
        validate_default(&default, schema.value, is_resource, inside, judge, errors);
    }
    walk(&schema.field("items"), inside, depth + 1, judge, errors);
    for (name, property) in schema.field("properties").entries() {
        let inside_metadata = inside.inside_metadata || (is_resource && OF_RESOURCES.contains(&name));
        walk(&property, Place { inside_metadata, ..inside }, depth + 1, judge, errors);
    }
}

fn validate_default(
    default: &At<'_>,
    schema: &Value,
    is_resource: bool,
    place: Place,
    judge: &mut Judge,
    errors: &mut ErrorList,
) {
    if !place.inside_metadata {
        if place.pruned && knows_less(schema, default.value, is_resource) {
            default.invalid(errors, "must not have unknown fields");
        }
        let before = errors.len();
        if has_fit_types(default, schema, is_resource, errors) {
            validate_resources(default, schema, is_resource, errors);
        }
        if errors.len() > before {
            return;
        }
    }
    judge.validate(default, schema, errors);
}

fn is_embedded(schema: &Value) -> bool {
    child(schema, "x-kubernetes-embedded-resource") == &Value::Bool(true)
}

/// Whether the default of a schema has fields that it does not know.
pub(crate) fn has_unknown_fields(schema: &Value) -> bool {
    knows_less(schema, child(schema, "default"), is_embedded(schema))
}

/// Whether a value has fields that its schema does not know. `schema` is null where nothing is known.
fn knows_less(schema: &Value, value: &Value, is_resource: bool) -> bool {
    let preserves = child(schema, "x-kubernetes-preserve-unknown-fields") == &Value::Bool(true);
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let more = child(schema, "additionalProperties");
            if is_resource && OF_RESOURCES.contains(&name.as_str()) {
                return false;
            }
            match child(schema, "properties").get(name) {
                Some(property) => knows_less(property, value, is_embedded(property)),
                None if !more.is_null() => knows_less(more, value, is_embedded(more)),
                None => !preserves,
            }
        }),
        Value::Array(list) if !preserves => {
            let items = child(schema, "items");
            list.iter().any(|one| knows_less(items, one, is_embedded(items)))
        }
        _ => false,
    }
}

/// The places right within a value that its schema says something of, with the schemas; fields of their own have
/// other paths than keys of maps.
fn within<'b>(at: &'b At<'_>, schema: &'b Value) -> impl Iterator<Item = (At<'b>, &'b Value)> {
    let (properties, more) = (child(schema, "properties"), child(schema, "additionalProperties"));
    let fields = at.entries().filter_map(move |(name, value)| match properties.get(name) {
        Some(property) => Some((value.renamed(name), property)),
        None => Some((value, more)).filter(|(_, more)| more.is_object()),
    });
    fields.chain(at.items().map(move |item| (item, child(schema, "items"))))
}

/// Whether kinds and API versions are strings; the first that is none is told.
fn has_fit_types(at: &At<'_>, schema: &Value, is_resource: bool, errors: &mut ErrorList) -> bool {
    for field in ["apiVersion", "kind"] {
        let at = at.field(field);
        if is_resource && at.present() && !at.value.is_string() {
            at.invalid(errors, "must be a string");
            return false;
        }
    }
    within(at, schema).all(|(at, schema)| has_fit_types(&at, schema, is_embedded(schema), errors))
}

/// Resources that are embedded have a kind and an API version.
fn validate_resources(at: &At<'_>, schema: &Value, is_resource: bool, errors: &mut ErrorList) {
    if is_resource && at.value.is_object() {
        validate_resource(at, errors);
    }
    for (at, schema) in within(at, schema) {
        validate_resources(&at, schema, is_embedded(schema), errors);
    }
}

fn validate_resource(at: &At<'_>, errors: &mut ErrorList) {
    for field in ["apiVersion", "kind"] {
        let at = at.field(field);
        if !at.present() {
            at.required(errors, "");
        } else if at.is_empty() {
            at.invalid(errors, "must not be empty");
        }
    }
    let (version, kind) = (at.field("apiVersion"), at.field("kind"));
    if version.str().matches('/').count() > 1 {
        version.invalid(errors, &format!("unexpected GroupVersion string: {}", version.str()));
    }
    let messages = names::dns1035_label(&object::str_at(at.value, "kind").to_lowercase());
    if !is_empty(kind.value) && !messages.is_empty() {
        kind.invalid(errors, &format!("may have mixed case, but should otherwise match: {}", messages.join(",")));
    }
}
