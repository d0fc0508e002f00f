//! The measured cases: where they are, and what their abbreviations mean.

use std::path::PathBuf;

use api_machinery::Value;
use serde_json::{Map, json};

/// Where `CASES_DIR` says, which then must have them, or beside the checkout.
pub(crate) fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("CASES_DIR").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/api-surface/validation");
    let has = |folder: &PathBuf| folder.join("cases.jsonl").is_file();
    if let Some(folder) = &given {
        assert!(has(folder), "CASES_DIR: there is no cases.jsonl in {}", folder.display());
    }
    given.or_else(|| Some(beside).filter(has))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// The abbreviations of large values.
pub(crate) fn expand(value: &Value) -> Value {
    match value {
        Value::Object(map) => expand_map(map),
        Value::Array(list) => list.iter().map(expand).collect(),
        other => other.clone(),
    }
}

fn expand_map(map: &Map<String, Value>) -> Value {
    let repeated = |pair: &Value| text(&pair[0]).repeat(usize::try_from(pair[1].as_u64().unwrap_or(0)).unwrap_or(0));
    if let Some(pair) = map.get("$repeat") {
        return repeated(pair).into();
    }
    if let Some(pair) = map.get("$key_repeat") {
        return json!({repeated(pair): map.get("$value")});
    }
    if let Some(count) = map.get("$list").and_then(Value::as_u64) {
        return (0..count).map(|index| numbered(&map["first"], &map["last"], index, count)).collect();
    }
    if let Some(count) = map.get("$map").and_then(Value::as_u64) {
        let items = (0..count).map(|index| numbered(&map["first"], &map["last"], index, count));
        let merged: Map<String, Value> = items.filter_map(|item| item.as_object().cloned()).flatten().collect();
        return Value::Object(merged);
    }
    map.iter().map(|(key, value)| (key.clone(), expand(value))).collect()
}

/// The item at an index, between a first and a last one that differ in a trailing number.
fn numbered(first: &Value, last: &Value, index: u64, count: u64) -> Value {
    let swap = |from: &str, to: &str| match to.strip_suffix(&(count - 1).to_string()) {
        Some(stem) if from == format!("{stem}0") => format!("{stem}{index}"),
        _ => from.to_owned(),
    };
    match (first, last) {
        (Value::String(from), Value::String(to)) => swap(from, to).into(),
        (Value::Object(from), Value::Object(to)) => from
            .iter()
            .zip(to)
            .map(|((key, value), (last_key, last_value))| {
                (swap(key, last_key), numbered(value, last_value, index, count))
            })
            .collect(),
        (from, _) => from.clone(),
    }
}

/// Sets a dotted path, where numbers are places in lists.
pub(crate) fn set(place: &mut Value, path: &str, value: Value) {
    let mut place = place;
    for step in path.split('.') {
        place = match step.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => {
                if !place.is_object() {
                    *place = json!({});
                }
                &mut place[step]
            }
        };
    }
    *place = value;
}

pub(crate) fn delete(place: &mut Value, path: &str) {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer: String = parent.split('.').filter(|step| !step.is_empty()).map(|step| format!("/{step}")).collect();
    if let Some(map) = place.pointer_mut(&pointer).and_then(Value::as_object_mut) {
        map.remove(last);
    }
}
