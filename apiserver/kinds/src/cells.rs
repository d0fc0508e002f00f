//! What cells of a `Table` are made of, shared by the kinds.

use api_machinery::{Value, object, time};
use jiff::Timestamp;

use crate::at::child;

/// The age cell: time since creation.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(object::str_at(object, "metadata.creationTimestamp"), now).into()
}

/// Time since a timestamp as kubectl shows it, `<unknown>` when unset.
pub(crate) fn since(text: &str, now: Timestamp) -> String {
    match time::parse(text) {
        Some(then) => time::human_duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

pub(crate) fn name(object: &Value) -> Value {
    object::name(object).into()
}

/// The string at a path, or another one when it is unset.
pub(crate) fn text_or(object: &Value, path: &str, other: &str) -> Value {
    let text = object::str_at(object, path);
    if text.is_empty() { other.into() } else { text.into() }
}

pub(crate) fn text(object: &Value, path: &str) -> Value {
    object::str_at(object, path).into()
}

/// The number at a path, 0 when unset.
pub(crate) fn int(object: &Value, path: &str) -> i64 {
    child(object, path).as_i64().unwrap_or(0)
}

pub(crate) fn len(object: &Value, path: &str) -> i64 {
    let count = match child(object, path) {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn list<'v>(object: &'v Value, path: &str) -> &'v [Value] {
    child(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// Strings of a list joined.
pub(crate) fn joined(object: &Value, path: &str, separator: &str) -> String {
    let texts: Vec<&str> = list(object, path).iter().filter_map(Value::as_str).collect();
    texts.join(separator)
}

/// One string field of each item of a list, joined with commas: container names, images.
pub(crate) fn joined_field(items: &[Value], field: &str) -> String {
    let texts: Vec<&str> = items.iter().map(|item| object::str_at(item, field)).collect();
    texts.join(",")
}

/// Names and images of the containers of a pod spec.
pub(crate) fn containers(object: &Value, pod_spec: &str) -> [Value; 2] {
    let containers = list(child(object, pod_spec), "containers");
    [joined_field(containers, "name").into(), joined_field(containers, "image").into()]
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn labels(map: &Value) -> String {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else { return "<none>".to_owned() };
    let mut pairs: Vec<String> =
        map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    pairs.sort();
    pairs.join(",")
}

/// A `LabelSelector` object as text, sorted by key, `<none>` when it selects everything or nothing.
pub(crate) fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))));
    }
    for requirement in list(selector, "matchExpressions") {
        let key = object::str_at(requirement, "key");
        let mut values: Vec<&str> = list(requirement, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match object::str_at(requirement, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Whether the condition of this type is `True`.
pub(crate) fn condition_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| object::str_at(condition, "status") == "True")
}

pub(crate) fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    list(object, "status.conditions").iter().find(|condition| object::str_at(condition, "type") == kind)
}

/// `RWO,ROX`
pub(crate) fn access_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let set = modes.as_array().map_or(&[][..], Vec::as_slice);
    let has = |mode: &str| set.iter().any(|own| own.as_str() == Some(mode));
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// `True`, `False`, `<unset>`.
pub(crate) fn flag(value: &Value) -> Value {
    match value {
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        _ => "<unset>".into(),
    }
}
