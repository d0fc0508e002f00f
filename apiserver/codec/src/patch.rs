//! JSON patch (RFC 6902), JSON merge patch (RFC 7396), strategic merge patch.

use api_machinery::{ApiError, Reason, Value};
use api_schema::{Schema, TypeId};
use json_patch::{Patch, PatchOperation};

use crate::decode::MAX_FINDINGS;
use crate::depth::{MAX_DEPTH, depth};
use crate::strategic::{Known, Merge};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// At most so many operations in a JSON patch, as upstream.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// All `copy` operations of a JSON patch together may add so many bytes, as upstream.
pub const MAX_JSON_PATCH_COPIED_BYTES: usize = 3 * 1024 * 1024;
/// And so much memory, which many small maps fill with little JSON: beyond upstream, whose copies are text.
const MAX_JSON_PATCH_COPIED_MEMORY: usize = 32 * 1024 * 1024;

/// Applies a patch to a current object; upstream's errors (400 malformed, 422 that does not apply, 413 too many).
/// The result is not yet conformed: the caller does that, as for any body.
pub fn apply(
    schema: &Schema,
    type_id: TypeId,
    kind: PatchKind,
    patch: &Value,
    current: &Value,
) -> Result<Value, ApiError> {
    match kind {
        PatchKind::Json => json(patch, current),
        PatchKind::Merge => merge(patch, current),
        PatchKind::Strategic => strategic(schema, type_id, patch, current),
    }
}

/// What upstream answers to a patch that is well formed and does not fit the object.
fn does_not_apply() -> ApiError {
    let message = "the server rejected our request due to an error in our request";
    let mut error = ApiError::new(422, Reason::Invalid, message);
    error.details = Some(Box::default());
    error
}

fn json(patch: &Value, current: &Value) -> Result<Value, ApiError> {
    let Value::Array(operations) = patch else {
        let found = crate::scalar::json_type(patch);
        let why = format!("json: cannot unmarshal {found} into Go value of type jsonpatch.Patch");
        return Err(ApiError::bad_request(why));
    };
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(ApiError::too_large(format!(
            "Request entity is too large: The allowed maximum operations in a JSON patch is \
             {MAX_JSON_PATCH_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    // An operation that cannot be read is found while applying upstream, so it is no 400.
    let Patch(operations) = serde_json::from_value(patch.clone()).map_err(|_| does_not_apply())?;
    let mut object = current.clone();
    let mut copied = Copied::default();
    for operation in &operations {
        let source = match operation {
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            PatchOperation::Copy(copy) => Some(copy.from.resolve(&object).map_err(|_| does_not_apply())?),
            PatchOperation::Move(moved) => Some(moved.from.resolve(&object).map_err(|_| does_not_apply())?),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        if let Some(source) = source
            && operation.path().count() + depth(source) > MAX_DEPTH
        {
            return Err(does_not_apply());
        }
        if let (PatchOperation::Copy(_), Some(source)) = (operation, source) {
            copied.add(source)?;
        }
        // The object is ours: one that stays half patched after an error is dropped.
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation)).map_err(|_| does_not_apply())?;
    }
    Ok(object)
}

/// What all `copy` operations so far have come to.
#[derive(Default)]
struct Copied {
    /// Of JSON.
    bytes: usize,
    memory: usize,
}

impl Copied {
    fn add(&mut self, value: &Value) -> Result<(), ApiError> {
        serde_json::to_writer(&mut *self, value).map_err(|_| does_not_apply())?;
        self.count(value)
    }

    fn count(&mut self, value: &Value) -> Result<(), ApiError> {
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
        if self.memory > MAX_JSON_PATCH_COPIED_MEMORY { Err(does_not_apply()) } else { Ok(()) }
    }
}

/// Counts what would be written, until it is too much.
impl std::io::Write for Copied {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > MAX_JSON_PATCH_COPIED_BYTES {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What strict decoding finds in the operations of a JSON patch: members that no operation has.
pub fn unknown_members(patch: &Value) -> Vec<String> {
    const MEMBERS: [&str; 4] = ["op", "path", "from", "value"];
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let unknown = operations.flat_map(|(index, operation)| {
        let members = operation.as_object().into_iter().flat_map(|map| map.keys());
        let unknown = members.filter(|member| !MEMBERS.contains(&member.as_str()));
        unknown.map(move |member| format!("unknown field \"[{index}].{member}\""))
    });
    unknown.take(MAX_FINDINGS).collect()
}

fn merge(patch: &Value, current: &Value) -> Result<Value, ApiError> {
    if !patch.is_object() {
        return Err(ApiError::bad_request("Invalid JSON Patch"));
    }
    let mut object = current.clone();
    json_patch::merge(&mut object, patch);
    Ok(object)
}

fn strategic(schema: &Schema, type_id: TypeId, patch: &Value, current: &Value) -> Result<Value, ApiError> {
    let (Value::Object(patch), Value::Object(current)) = (patch, current) else {
        let found = crate::scalar::json_type(patch);
        let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(ApiError::bad_request(why));
    };
    let known = Known::Type(schema.get(type_id));
    let merged = Merge { schema }.map(current.clone(), patch.clone(), known);
    merged.map(Value::Object).map_err(ApiError::bad_request)
}
