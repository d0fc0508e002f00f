//! The JSON merge patch (RFC 7396) that turns one object into another.

use serde_json::{Map, Value, json};

/// What must be merged into `old` to make it `new`; `None` when they are equal.
/// A list that differs is replaced as a whole, as RFC 7396 has it.
pub fn diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut out = Map::new();
    for (name, value) in to {
        let change = match from.get(name) {
            Some(before) => diff(before, value),
            None => Some(value.clone()),
        };
        out.extend(change.map(|change| (name.clone(), change)));
    }
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        out.insert(name.clone(), Value::Null);
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// The patch of a subresource (`"status"`), or of everything but the status (`""`), with the uid of the
/// old object in it: the server refuses it for another object of the same name.
pub fn changes(old: &Value, new: &Value, subresource: &str) -> Option<Value> {
    let mut body = match subresource {
        "" => diff(&without_status(old), &without_status(new))?,
        part => json!({ part: diff(&old[part], &new[part])? }),
    };
    let uid = &old["metadata"]["uid"];
    if uid.is_string() {
        body["metadata"]["uid"] = uid.clone();
    }
    Some(body)
}

fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    object
}

/// Equal apart from what encoding may add or drop: nulls, empty lists and empty maps.
pub fn same_meaning(left: &Value, right: &Value) -> bool {
    normal(left) == normal(right)
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept =
                map.iter().map(|(name, value)| (name.clone(), normal(value))).filter(|(_, value)| !is_void(value));
            Value::Object(kept.collect())
        }
        Value::Array(list) => list.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        // An empty object means something: `emptyDir: {}`.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn diff_is_the_merge_patch_between_two_values() {
        let table = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1, "y": 3}}), Some(json!({"a": {"y": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!(null), json!({"a": 1}), Some(json!({"a": 1}))),
        ];
        for (old, new, want) in table {
            assert_eq!(diff(&old, &new), want, "{old} -> {new}");
        }
    }

    #[test]
    fn a_patch_carries_the_uid_and_only_its_part() {
        let old = json!({"metadata": {"uid": "u"}, "spec": {"a": 1}, "status": {"b": 1}});
        let new = json!({"metadata": {"uid": "u"}, "spec": {"a": 2}, "status": {"b": 2}});
        assert_eq!(changes(&old, &new, "status"), Some(json!({"metadata": {"uid": "u"}, "status": {"b": 2}})));
        assert_eq!(changes(&old, &new, ""), Some(json!({"metadata": {"uid": "u"}, "spec": {"a": 2}})));
        assert_eq!(changes(&old, &old, ""), None);
    }
}
