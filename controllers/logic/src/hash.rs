//! Short, stable names from content: the `pod-template-hash` and its kin.

use serde_json::Value;

/// 32-bit FNV-1a.
pub fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Characters of safe-encoded strings: no vowels and no look-alikes, so that no words come out.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Upstream's safe encoding: each byte by its value modulo the alphabet.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE[usize::from(byte) % SAFE.len()])).collect()
}

/// The suffix of a name made from content, as upstream forms it: the decimal hash, safe-encoded. `collisions`
/// is appended when a former hash met an object of other content.
/// The value differs from upstream's, which hashes a Go memory layout and is documented as opaque.
pub fn content_hash(content: &Value, collisions: Option<i32>) -> String {
    let mut bytes = canonical(content).into_bytes();
    if let Some(count) = collisions {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode(&fnv1a_32(&bytes).to_string())
}

/// JSON with sorted keys and without nulls and empty lists, so that equal content has one text.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Vec<_> = fields
                .iter()
                .filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty))
                .map(|(name, value)| format!("{name:?}:{}", canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_stable_and_ignore_what_encoding_may_change() {
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        let one = content_hash(&json!({"a": 1, "b": [], "c": null}), None);
        assert_eq!(one, content_hash(&json!({"a": 1}), None));
        assert_ne!(one, content_hash(&json!({"a": 1}), Some(1)));
        assert!(one.len() <= 10 && one.bytes().all(|byte| SAFE.contains(&byte)), "{one}");
    }
}
