//! A patched object as upstream's messages show it: its libraries write sorted by key what they have taken apart, and
//! everything else as Go wrote it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api_machinery::Value;
use api_machinery::quote::json_quoted;
use api_schema::{Schema, Shape, TypeId};
use serde_json::Map;

use crate::operations::unescaped;

/// An object or a list that was taken apart.
#[derive(Default)]
pub(crate) struct Apart {
    /// With everything inside.
    whole: bool,
    inside: BTreeMap<String, Apart>,
}

impl Apart {
    fn whole() -> Self {
        Self { whole: true, inside: BTreeMap::new() }
    }

    /// What the operations of a JSON patch pass through. Values that they bring have the client's order, which is not
    /// known any more: sorted, most likely.
    pub(crate) fn by_operations(patch: &Value) -> Self {
        let mut all = Self::default();
        for operation in patch.as_array().into_iter().flatten() {
            for member in ["from", "path"] {
                let path = operation.get(member).and_then(Value::as_str).unwrap_or_default();
                let mut parts = path.split('/').skip(1).peekable();
                let mut apart = &mut all;
                while let Some(part) = parts.next() {
                    if parts.peek().is_some() {
                        apart = apart.inside.entry(unescaped(part)).or_default();
                    } else if member == "path" && operation.get("value").is_some() {
                        apart.inside.insert(unescaped(part), Self::whole());
                    }
                }
            }
        }
        all
    }

    /// What a merge patch goes into or replaces.
    pub(crate) fn by_merge(patch: &Value, current: &Value) -> Self {
        let (Value::Object(patch), Value::Object(current)) = (patch, current) else { return Self::whole() };
        let changed = patch.iter().filter(|(_, value)| !value.is_null());
        let inside = changed.map(|(key, value)| {
            let inside = current.get(key).map_or_else(Self::whole, |current| Self::by_merge(value, current));
            (key.clone(), inside)
        });
        Self { whole: false, inside: inside.collect() }
    }

    fn inside(&self, key: &str) -> Option<&Self> {
        if self.whole { Some(self) } else { self.inside.get(key) }
    }
}

/// The object as JSON.
pub(crate) fn text(schema: &Schema, type_id: TypeId, object: &Value, apart: &Apart) -> String {
    let mut writer = Writer { schema, out: String::new() };
    writer.value(object, Some(&Shape::Message(type_id)), Some(apart));
    writer.out
}

struct Writer<'a> {
    schema: &'a Schema,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, shape: Option<&Shape>, apart: Option<&Apart>) {
        match value {
            Value::Object(map) => self.object(map, shape, apart),
            Value::Array(list) => {
                let element = match shape {
                    Some(Shape::List(element)) => Some(&**element),
                    _ => None,
                };
                self.out.push('[');
                for (index, value) in list.iter().enumerate() {
                    self.out.push_str(if index > 0 { "," } else { "" });
                    self.value(value, element, apart.and_then(|apart| apart.inside(&index.to_string())));
                }
                self.out.push(']');
            }
            Value::String(text) => self.out.push_str(&json_quoted(text)),
            // Writing to a String cannot fail.
            Value::Null | Value::Bool(_) | Value::Number(_) => write!(self.out, "{value}").expect("a String takes all"),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, shape: Option<&Shape>, apart: Option<&Apart>) {
        let schema = self.schema;
        let one = match shape {
            Some(Shape::Message(id)) => Some(schema.get(*id)),
            _ => None,
        };
        let field = |key: &str| one.and_then(|one| one.field(key));
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_by_key(|(key, _)| {
            let place = field(key).filter(|_| apart.is_none()).map(|field| field.go_order);
            (place, *key)
        });
        self.out.push('{');
        for (index, (key, value)) in entries.into_iter().enumerate() {
            let inner = match shape {
                Some(Shape::Map(element)) => Some(&**element),
                _ => field(key).map(|field| &field.shape),
            };
            self.out.push_str(if index > 0 { "," } else { "" });
            self.out.push_str(&json_quoted(key));
            self.out.push(':');
            self.value(value, inner, apart.and_then(|apart| apart.inside(key)));
        }
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_taken_apart_is_in_the_order_of_its_struct() {
        let managed = json!([{"time": "t", "manager": "m", "fieldsV1": {"f:b": {}, "f:a": {}}, "apiVersion": "v1"}]);
        let current = json!({
            "metadata": {"uid": "u", "name": "n", "managedFields": managed, "labels": {"b": "<", "a": "2"}},
            "kind": "Pod",
            "spec": {"containers": [{"name": "c", "image": "i", "args": ["a"]}], "initContainers": []},
        });
        let schema = Schema::builtin();
        let pod = schema.type_named("core.v1.Pod").expect("a type");
        let of = |apart: Apart| text(schema, pod, &current, &apart);
        let managed = r#"[{"manager":"m","apiVersion":"v1","time":"t","fieldsV1":{"f:a":{},"f:b":{}}}]"#;
        let plain = format!(r#"{{"name":"n","uid":"u","labels":{{"a":"2","b":"\u003c"}},"managedFields":{managed}}}"#);
        let sorted = format!(r#"{{"labels":{{"a":"2","b":"\u003c"}},"managedFields":{managed},"name":"n","uid":"u"}}"#);
        let spec = r#"{"initContainers":[],"containers":[{"name":"c","image":"i","args":["a"]}]}"#;
        let apart = r#"{"containers":[{"args":["a"],"image":"i","name":"c"}],"initContainers":[]}"#;
        let image =
            json!([{"op": "remove", "path": "/spec/containers/0/image"}, {"op": "add", "path": "/x", "value": 1}]);
        let label = json!({"metadata": {"labels": {"c": "d"}, "name": null}, "x": 1});
        for (patched, metadata, spec) in [
            (of(Apart::by_operations(&image)), &plain, apart),
            (of(Apart::by_merge(&label, &current)), &sorted, spec),
            (of(Apart::by_merge(&json!({"spec": {"containers": []}}), &current)), &plain, apart),
        ] {
            assert_eq!(patched, format!(r#"{{"kind":"Pod","metadata":{metadata},"spec":{spec}}}"#));
        }
    }
}
