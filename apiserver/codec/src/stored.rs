//! How objects are kept: JSON with `apiVersion`, `kind` and `metadata` first and no
//! `resourceVersion`, so that the revision is spliced in by position, without parsing.

use bytes::Bytes;

use api_machinery::Value;

/// The bytes of a stored object: `{"apiVersion":..,"kind":..,"metadata":{..},...}` without
/// `metadata.resourceVersion`.
pub fn encode(_object: &Value) -> Bytes {
    todo!()
}

/// The bytes as sent: stored bytes with `"resourceVersion":"N"` as the first metadata field.
/// `None` when the bytes are not as [`encode`] writes them.
pub fn with_revision(_stored: &[u8], _revision: u64) -> Option<Bytes> {
    todo!()
}
