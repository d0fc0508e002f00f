//! JSON patch (RFC 6902), JSON merge patch (RFC 7396), strategic merge patch.

use api_machinery::{ApiError, Value};
use api_schema::{Schema, TypeId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// At most so many operations in a JSON patch, as upstream.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Applies a patch to a current object; upstream's errors (400 malformed, 422 that does not apply, 413 too many).
pub fn apply(
    _schema: &Schema,
    _type_id: TypeId,
    _kind: PatchKind,
    _patch: &Value,
    _current: &Value,
) -> Result<Value, ApiError> {
    todo!()
}
