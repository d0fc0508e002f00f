//! Access to the metadata of an object held as a JSON value.
//!
//! Getters answer the empty value for what is absent or of the wrong type: the codec has checked
//! types before anything here is called.

use serde_json::{Map, Value};

/// `metadata` of an object.
pub fn meta(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// `metadata`, made when absent. What is no JSON object, which the codec refuses and the store must not hold,
/// becomes one: a bad object is no reason to stop whoever looks at it.
pub fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    let meta = as_map(object).entry("metadata").or_insert(Value::Null);
    as_map(meta)
}

/// The map of a value, which becomes an empty one when it is anything else.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("set just above")
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    meta(object).and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or("")
}

pub fn name(object: &Value) -> &str {
    text(object, "name")
}
pub fn generate_name(object: &Value) -> &str {
    text(object, "generateName")
}
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    Some(text(object, "deletionTimestamp")).filter(|text| !text.is_empty())
}
pub fn generation(object: &Value) -> i64 {
    meta(object).and_then(|meta| meta.get("generation")).and_then(Value::as_i64).unwrap_or(0)
}
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    meta(object)?.get("labels")?.get(key)?.as_str()
}
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    meta(object)?.get("annotations")?.get(key)?.as_str()
}
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = meta(object).and_then(|meta| meta.get("finalizers")).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}
pub fn owner_references(object: &Value) -> &[Value] {
    let list = meta(object).and_then(|meta| meta.get("ownerReferences")).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// Follows a dotted path of plain field names.
pub fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, field| value.get(field))
}
pub fn str_at<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_there_whatever_the_value_was() {
        for (mut value, expect) in [
            (json!({"kind": "Pod"}), json!({"kind": "Pod", "metadata": {"name": "a"}})),
            (json!({"metadata": "text"}), json!({"metadata": {"name": "a"}})),
            (Value::Null, json!({"metadata": {"name": "a"}})),
            (json!([1]), json!({"metadata": {"name": "a"}})),
        ] {
            meta_mut(&mut value).insert("name".to_owned(), "a".into());
            assert_eq!(value, expect);
        }
    }
}
