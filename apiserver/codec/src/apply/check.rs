//! What a configuration may not state: fields that its kind does not have, values of the wrong type, list elements
//! that cannot be told apart. The words are those of upstream's structured-merge-diff.

use std::collections::BTreeSet;

use api_machinery::Value;
use api_schema::{Field, ListType, Schema, Shape, Type};

use super::element::Element;
use super::place::Place;
use crate::go_text;

/// More is not reported.
const MAX_FINDINGS: usize = 100;

/// All findings as one message.
pub(crate) fn message(findings: &[String]) -> String {
    match findings {
        [one] => one.clone(),
        several => format!("errors:\n  {}", several.join("\n  ")),
    }
}

pub(crate) struct Check<'a> {
    pub(crate) schema: &'a Schema,
}

impl<'a> Check<'a> {
    /// As `PATH: WHAT`.
    pub(crate) fn findings(&self, place: Place<'a>, config: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if let Place::Fields(one) = place {
            self.fields(one, config, "", &mut found);
        }
        found
    }

    fn fields(&self, one: &'a Type, value: &Value, path: &str, found: &mut Vec<String>) {
        let Some(map) = as_map(value, path, found) else { return };
        // Upstream takes a type without fields for one that may have any.
        if one.fields.is_empty() {
            return;
        }
        for (name, value) in map {
            let path = format!("{path}.{name}");
            match one.field(name) {
                Some(field) => self.field(field, value, &path, found),
                None => note(found, &path, "field not declared in schema"),
            }
        }
    }

    fn field(&self, field: &'a Field, value: &Value, path: &str, found: &mut Vec<String>) {
        match &field.shape {
            Shape::List(element) => self.list(field, element, value, path, found),
            shape => self.value(shape, value, path, found),
        }
    }

    fn value(&self, shape: &'a Shape, value: &Value, path: &str, found: &mut Vec<String>) {
        if value.is_null() {
            return;
        }
        match shape {
            Shape::Message(id) => self.fields(self.schema.get(*id), value, path, found),
            Shape::Map(element) => {
                for (name, value) in as_map(value, path, found).into_iter().flatten() {
                    self.value(element, value, &format!("{path}.{name}"), found);
                }
            }
            Shape::List(element) => {
                for (index, value) in as_list(value, path, found).into_iter().flatten().enumerate() {
                    self.value(element, value, &format!("{path}[{index}]"), found);
                }
            }
            scalar => {
                if let Some(wrong) = wrong_scalar(scalar, value) {
                    note(found, path, &wrong);
                }
            }
        }
    }

    fn list(&self, field: &'a Field, element: &'a Shape, value: &Value, path: &str, found: &mut Vec<String>) {
        let place = match field.list_type {
            ListType::Atomic => return self.value(&field.shape, value, path, found),
            ListType::Set => Place::Set,
            ListType::Map => Place::Keyed { element, keys: &field.list_map_keys },
        };
        let mut seen: BTreeSet<Element> = BTreeSet::new();
        for (index, item) in as_list(value, path, found).into_iter().flatten().enumerate() {
            let step = match place.identify(self.schema, item) {
                Ok(step) => step,
                // What is inside has no path, and neither have those that follow.
                Err(why) => return note(found, path, &format!("element {index}: {why}")),
            };
            self.value(element, item, &format!("{path}{step}"), found);
            if let Some(twice) = seen.replace(step) {
                note(found, path, &format!("duplicate entries for key {twice}"));
            }
        }
    }
}

fn note(found: &mut Vec<String>, path: &str, what: &str) {
    if found.len() < MAX_FINDINGS {
        found.push(format!("{path}: {what}"));
    }
}

fn as_map<'v>(value: &'v Value, path: &str, found: &mut Vec<String>) -> Option<&'v serde_json::Map<String, Value>> {
    if !value.is_object() && !value.is_null() {
        note(found, path, &format!("expected map, got &{{{}}}", go_text::plain(value)));
    }
    value.as_object()
}

fn as_list<'v>(value: &'v Value, path: &str, found: &mut Vec<String>) -> Option<&'v Vec<Value>> {
    if !value.is_array() && !value.is_null() {
        note(found, path, &format!("expected list, got &{{{}}}", go_text::plain(value)));
    }
    value.as_array()
}

/// Times, quantities and the like are untyped scalars to upstream; what they hold is read later.
fn wrong_scalar(shape: &Shape, value: &Value) -> Option<String> {
    let shown = || format!("&{{{}}}", go_text::plain(value));
    match shape {
        Shape::Bool if !value.is_boolean() => Some(format!("expected boolean, got {}", shown())),
        Shape::Int32 | Shape::Int64 | Shape::Float64 if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {}", go_text::type_name(value)))
        }
        Shape::String | Shape::Bytes | Shape::Duration if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_text::syntax(value)))
        }
        Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime
            if value.is_object() || value.is_array() =>
        {
            Some(format!("expected any scalar, got {}", shown()))
        }
        _ => None,
    }
}
