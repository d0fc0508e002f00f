//! How objects are kept: JSON with `apiVersion`, `kind` and `metadata` first and no
//! `resourceVersion`, so that the revision is spliced in by position, without parsing.

use bytes::Bytes;

use api_machinery::Value;

const API_VERSION: &[u8] = b"{\"apiVersion\":\"";
const KIND: &[u8] = b"\",\"kind\":\"";
const METADATA: &[u8] = b"\",\"metadata\":{";
const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Appends a value as JSON.
fn push(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a Value is written to memory");
}

fn push_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a String, &'a Value)>, mut first: bool) {
    for (name, value) in fields {
        if !first {
            out.push(b',');
        }
        first = false;
        serde_json::to_writer(&mut *out, name).expect("a name is written to memory");
        out.push(b':');
        push(out, value);
    }
}

/// The bytes of a stored object: `{"apiVersion":..,"kind":..,"metadata":{..},...}` without
/// `metadata.resourceVersion`.
pub fn encode(object: &Value) -> Bytes {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("");
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(API_VERSION);
    out.extend_from_slice(text("apiVersion").as_bytes());
    out.extend_from_slice(KIND);
    out.extend_from_slice(text("kind").as_bytes());
    out.extend_from_slice(METADATA);
    let metadata = object.get("metadata").and_then(Value::as_object);
    let fields = metadata.into_iter().flatten().filter(|(name, _)| *name != "resourceVersion");
    push_fields(&mut out, fields, true);
    out.push(b'}');
    let rest = object.as_object().into_iter().flatten().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    push_fields(&mut out, rest, false);
    out.push(b'}');
    out.into()
}

/// Where the metadata's fields begin.
fn metadata_start(stored: &[u8]) -> Option<usize> {
    let mut at = API_VERSION.len();
    if !stored.starts_with(API_VERSION) {
        return None;
    }
    for mark in [KIND, METADATA] {
        // Neither name can hold a quote: they are those of a served type.
        at += stored[at..].iter().position(|&byte| byte == b'"')?;
        if !stored[at..].starts_with(mark) {
            return None;
        }
        at += mark.len();
    }
    Some(at)
}

/// The bytes as sent: stored bytes with `"resourceVersion":"N"` as the first metadata field.
/// `None` when the bytes are not as [`encode`] writes them.
pub fn with_revision(stored: &[u8], revision: u64) -> Option<Bytes> {
    let at = metadata_start(stored)?;
    let more = *stored.get(at)? != b'}';
    let mut out = Vec::with_capacity(stored.len() + 44);
    out.extend_from_slice(&stored[..at]);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.extend_from_slice(if more { b"\"," } else { b"\"" });
    out.extend_from_slice(&stored[at..]);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn revision_goes_in_by_position() {
        let table = [
            (
                json!({"spec": {"a": 1}, "kind": "Pod", "metadata": {"name": "a\"", "resourceVersion": "3"}, "apiVersion": "v1"}),
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\""},"spec":{"a":1}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a\""},"spec":{"a":1}}"#,
            ),
            (
                json!({"kind": "A", "apiVersion": "b/v1"}),
                r#"{"apiVersion":"b/v1","kind":"A","metadata":{}}"#,
                r#"{"apiVersion":"b/v1","kind":"A","metadata":{"resourceVersion":"7"}}"#,
            ),
        ];
        for (object, stored, sent) in table {
            let bytes = encode(&object);
            assert_eq!(bytes, stored.as_bytes());
            assert_eq!(with_revision(&bytes, 7).expect("own bytes"), sent.as_bytes());
        }
        for broken in
            ["", "{}", r#"{"kind":"Pod"}"#, r#"{"apiVersion":"v1","kind":"Pod","spec":{}}"#, r#"{"apiVersion":"v1"#]
        {
            assert_eq!(with_revision(broken.as_bytes(), 7), None, "{broken}");
        }
    }
}
