//! Values of custom resources as expressions see them: the types that a structural schema gives.

use std::collections::BTreeMap;

use api_machinery::Value;

use crate::places::is_own_word;
use crate::types::Type;

/// The name of the type of the value itself. Upstream's ends in another number each time, so that nobody leans on it.
const SELF: &str = "selfType0";
/// Schemas within each other; what is deeper can be anything.
const MAX_DEPTH: usize = 200;

/// What expressions see of a value; `None`: nothing. `is_resource`: whether it has a kind, a version and metadata.
/// `steps`: schemas that are looked at, here and for others; beyond them everything can be anything.
pub fn of_schema(schema: &Value, is_resource: bool, steps: &mut usize) -> Option<Type> {
    kind(schema, is_resource, SELF, (MAX_DEPTH, steps))
}

fn flag(schema: &Value, field: &str) -> bool {
    schema.get(field) == Some(&Value::Bool(true))
}

fn text<'s>(schema: &'s Value, field: &str) -> &'s str {
    schema.get(field).and_then(Value::as_str).unwrap_or("")
}

fn kind(schema: &Value, is_resource: bool, name: &str, (depth, steps): (usize, &mut usize)) -> Option<Type> {
    let (Some(depth), Some(left)) = (depth.checked_sub(1), steps.checked_sub(1)) else { return Some(Type::Dyn) };
    *steps = left;
    if flag(schema, "x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    let mut inner = |schema: &Value, name: String| {
        kind(schema, flag(schema, "x-kubernetes-embedded-resource"), &name, (depth, &mut *steps))
    };
    Some(match text(schema, "type") {
        "array" => Type::list(inner(schema.get("items")?, format!("{name}.@idx"))?),
        "object" => match schema.get("additionalProperties").filter(|more| more.is_object()) {
            Some(more) => Type::map(Type::String, inner(more, format!("{name}.@elem"))?),
            None => {
                let mut fields = BTreeMap::new();
                for (property, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    let Some(field) = escaped(property) else { continue };
                    fields.extend(inner(schema, format!("{name}.{field}")).map(|kind| (field, kind)));
                }
                if is_resource {
                    add_metadata(&mut fields, schema, name, (depth, steps));
                }
                Type::object(name, fields)
            }
        },
        "string" => match text(schema, "format") {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        },
        "boolean" => Type::Bool,
        "number" => Type::Double,
        "integer" => Type::Int,
        _ => return None,
    })
}

/// What every resource has, and nothing else of its metadata but what the schema names.
fn add_metadata(fields: &mut BTreeMap<String, Type>, schema: &Value, name: &str, limits: (usize, &mut usize)) {
    for field in ["apiVersion", "kind"] {
        fields.insert(field.to_owned(), Type::String);
    }
    let name = format!("{name}.metadata");
    let declared = schema.pointer("/properties/metadata").and_then(|metadata| kind(metadata, false, &name, limits));
    let mut inside: BTreeMap<String, Type> = match &declared {
        Some(Type::Object(object)) => object.fields().map(|(field, kind)| (field.clone(), kind.clone())).collect(),
        _ => BTreeMap::new(),
    };
    for field in ["name", "generateName"] {
        inside.insert(field.to_owned(), Type::String);
    }
    fields.insert("metadata".to_owned(), Type::object(&name, inside));
}

/// How expressions name a field; `None`: they cannot.
fn escaped(name: &str) -> Option<String> {
    if is_own_word(name) {
        return Some(format!("__{name}__"));
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mut found, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(c) = rest.chars().next() {
        let (escape, length) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            c if c.is_ascii_alphanumeric() || c == '_' => (&rest[..1], 1),
            _ => return None,
        };
        found.push_str(escape);
        rest = &rest[length..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_escaped() {
        for (name, wanted) in [
            ("a_b1", Some("a_b1")),
            ("b-c", Some("b__dash__c")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("a___b", Some("a__underscores___b")),
            ("in", Some("__in__")),
            ("namespace", Some("__namespace__")),
            ("1a", None),
            ("a$b", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(escaped(name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn schemas_are_types() {
        let string = json!({"type": "string"});
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true});
        for (schema, wanted) in [
            (json!({"type": "integer"}), Some("int")),
            (json!({"type": "number"}), Some("double")),
            (json!({"type": "string", "format": "date-time"}), Some("google.protobuf.Timestamp")),
            (json!({"type": "string", "format": "email"}), Some("string")),
            (json!({"x-kubernetes-int-or-string": true}), Some("dyn")),
            (json!({"type": "array", "items": string}), Some("list(string)")),
            (json!({"type": "array", "items": {}}), None),
            (
                json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}}),
                Some("map(string, list(bool))"),
            ),
            (json!({"type": "array", "items": {"type": "object"}}), Some("list(selfType0.@idx)")),
            (json!({"x-kubernetes-preserve-unknown-fields": true}), None),
        ] {
            let told = of_schema(&schema, false, &mut 100).map(|kind| kind.to_string());
            assert_eq!(told.as_deref(), wanted, "{schema}");
        }
        let whole = json!({"type": "object", "properties": {"b-c": string, "any": {}, "e": embedded}});
        let Some(Type::Object(whole)) = of_schema(&whole, true, &mut 100) else { panic!("an object") };
        let names: Vec<&String> = whole.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["apiVersion", "b__dash__c", "e", "kind", "metadata"]);
        let Some((_, Type::Object(inner))) = whole.fields().find(|(name, _)| *name == "e") else { panic!("an object") };
        assert_eq!(inner.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["apiVersion", "kind", "metadata"]);
        assert_eq!(inner.name(), "selfType0.e");
    }

    #[test]
    fn what_is_not_looked_at_can_be_anything() {
        let schema = json!({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}});
        for (mut steps, wanted) in [(0, "dyn"), (1, "list(dyn)"), (2, "list(list(dyn))"), (3, "list(list(int))")] {
            let told = of_schema(&schema, false, &mut steps).map(|kind| kind.to_string());
            assert_eq!((told.as_deref(), steps), (Some(wanted), 0));
        }
    }
}
