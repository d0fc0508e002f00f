//! How deep an object may be.

use api_machinery::Value;

/// Objects and lists within each other, at most: what is stored is read again by `serde_json`, which gives up one
/// level further in.
pub const MAX_DEPTH: usize = 127;

/// How many objects and lists are within each other.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_deep_as_allowed_can_be_read_again() {
        let nested = |levels: usize| (0..levels).fold(Value::from(1), |inner, _| Value::Array(vec![inner]));
        for (levels, readable) in [(0, true), (1, true), (MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            let value = nested(levels);
            assert_eq!(depth(&value), levels);
            let read: Result<Value, _> = serde_json::from_str(&value.to_string());
            assert_eq!(read.is_ok(), readable, "{levels}");
        }
    }
}
