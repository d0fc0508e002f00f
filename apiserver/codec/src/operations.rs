//! The operations of a JSON patch as upstream's library applies them, which is laxer than RFC 6902: `replace` and `copy`
//! need not find a key, elements are counted from the end as well, and what stands before the first slash of a path does
//! not matter.

use api_machinery::Value;

use crate::depth::{MAX_DEPTH, depth};

static NULL: Value = Value::Null;
/// All `copy` operations of a patch together may add so many bytes, as upstream.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;
/// And so much memory, which many small maps fill with little JSON: beyond upstream, whose copies are text.
const MAX_COPIED_MEMORY: usize = 32 * 1024 * 1024;

/// `None`: one of them does not apply.
pub(crate) fn apply(operations: &[Value], mut object: Value) -> Option<Value> {
    let mut copied = Copied::default();
    operations.iter().try_for_each(|operation| apply_one(operation, &mut object, &mut copied))?;
    Some(object)
}

fn apply_one(operation: &Value, object: &mut Value, copied: &mut Copied) -> Option<()> {
    let text = |member: &str| operation.get(member)?.as_str();
    let value = operation.get("value").unwrap_or(&NULL);
    let path = text("path")?;
    match text("op")? {
        "add" => add(object, path, value.clone()),
        "remove" => remove(object, path).map(|_| ()),
        "replace" => replace(object, path, value.clone()),
        "move" => {
            let moved = remove(object, text("from")?)?;
            add(object, path, moved)
        }
        "copy" => {
            let source = find(object, text("from")?)?;
            copied.add(source)?;
            let source = source.clone();
            add(object, path, source)
        }
        "test" if path.is_empty() => (*object == *value).then_some(()),
        "test" => (find(object, path)? == value).then_some(()),
        _ => None,
    }
}

/// The object or list that a path ends in, and the last part of the path.
fn parent<'v>(object: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let (parts, last) = path.rsplit_once('/').map_or((None, path), |(parts, last)| (Some(parts), last));
    let mut place = object;
    for part in parts.into_iter().flat_map(|parts| parts.split('/')) {
        let part = unescaped(part);
        place = match place {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(list) => {
                let at = index(&part, list.len())?;
                list.get_mut(at)?
            }
            _ => return None,
        };
    }
    Some((place, unescaped(last)))
}

/// Part of a path.
pub(crate) fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The place of an element: counted from the end where the number is negative.
fn index(part: &str, length: usize) -> Option<usize> {
    let at: i64 = part.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if at < 0 { at + length } else { at }).ok()
}

/// Null where an object lacks the key.
fn find<'v>(object: &'v mut Value, path: &str) -> Option<&'v Value> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => Some(map.get(&key).unwrap_or(&NULL)),
        Value::Array(list) => list.get(index(&key, list.len())?),
        _ => None,
    }
}

/// What is made here can be read again.
fn has_room(path: &str, value: &Value) -> bool {
    path.matches('/').count() + depth(value) <= MAX_DEPTH
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    let (place, key) = parent(object, path).filter(|_| has_room(path, &value))?;
    match place {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(&key, list.len() + 1).filter(|at| *at <= list.len())?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => map.remove(&key),
        Value::Array(list) => {
            let at = index(&key, list.len()).filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = Some(value).filter(|value| value.is_object() || value.is_array())?;
        return Some(());
    }
    let (place, key) = parent(object, path).filter(|_| has_room(path, &value))?;
    match place {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) => {
            let at = index(&key, list.len())?;
            *list.get_mut(at)? = value;
        }
        _ => return None,
    }
    Some(())
}

/// What all `copy` operations so far have come to.
#[derive(Default)]
struct Copied {
    /// Of JSON.
    bytes: usize,
    memory: usize,
}

impl Copied {
    /// `None`: it is too much.
    fn add(&mut self, value: &Value) -> Option<()> {
        serde_json::to_writer(&mut *self, value).ok()?;
        self.count(value)
    }

    fn count(&mut self, value: &Value) -> Option<()> {
        // A map has room for eleven members from its first on, and a text is at least one small piece of memory.
        const MAP: usize = 640;
        const TEXT: usize = 16;
        self.memory += size_of::<Value>();
        match value {
            Value::String(text) => self.memory += text.len().max(TEXT),
            Value::Array(items) => items.iter().try_for_each(|item| self.count(item))?,
            Value::Object(map) => {
                self.memory += MAP;
                for (key, value) in map {
                    self.memory += size_of::<String>() + key.len().max(TEXT);
                    self.count(value)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        (self.memory <= MAX_COPIED_MEMORY).then_some(())
    }
}

/// Counts what would be written, until it is too much.
impl std::io::Write for Copied {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > MAX_COPIED_BYTES {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_as_lax_as_upstreams() {
        let object = || json!({"a": {"b/c": 1}, "l": [1, 2]});
        let of = |operation: Value| apply(&[operation], object());
        let with = |key: &str, value: Value| {
            let mut object = object();
            object[key] = value;
            Some(object)
        };
        for (operation, expect) in [
            (json!({"op": "replace", "path": "/new", "value": 1}), with("new", json!(1))),
            (json!({"op": "replace", "path": "/new/x", "value": 1}), None),
            (json!({"op": "replace", "path": "/l/2", "value": 1}), None),
            (json!({"op": "replace", "path": "/l/-1", "value": 3}), with("l", json!([1, 3]))),
            (json!({"op": "replace", "path": "", "value": {"x": 1}}), Some(json!({"x": 1}))),
            (json!({"op": "replace", "path": "", "value": 1}), None),
            (json!({"op": "copy", "from": "/none", "path": "/new"}), with("new", json!(null))),
            (json!({"op": "copy", "from": "/a/b~1c", "path": "/l/0"}), with("l", json!([1, 1, 2]))),
            (json!({"op": "move", "from": "/none", "path": "/new"}), None),
            (json!({"op": "move", "from": "/l/0", "path": "/l/-"}), with("l", json!([2, 1]))),
            (json!({"op": "add", "path": "/l/-1", "value": 3}), with("l", json!([1, 2, 3]))),
            (json!({"op": "add", "path": "/l/3", "value": 3}), None),
            (json!({"op": "add", "path": "", "value": {}}), None),
            (json!({"op": "add", "path": "x/new"}), with("new", json!(null))),
            (json!({"op": "remove", "path": "/l/-3"}), None),
            (json!({"op": "remove", "path": "/a/b~1c"}), with("a", json!({}))),
            (json!({"op": "test", "path": "/none"}), Some(object())),
            (json!({"op": "test", "path": "/none/x", "value": null}), None),
            (json!({"op": "test", "path": "", "value": object()}), Some(object())),
            (json!({"op": "add", "path": 1}), None),
            (json!(1), None),
        ] {
            assert_eq!(of(operation.clone()), expect, "{operation}");
        }
    }
}
