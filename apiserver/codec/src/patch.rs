//! JSON patch (RFC 6902), JSON merge patch (RFC 7396), strategic merge patch.

use std::cell::RefCell;

use api_machinery::{ApiError, Reason, Value};
use api_schema::{Schema, TypeId};

use crate::decode::{self, FieldValidation, MAX_FINDINGS, Parsed};
use crate::scalar::json_type;
use crate::shown::{self, Apart};
use crate::strategic::{Known, Merge};
use crate::{go_text, operations};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// At most so many operations in a JSON patch, as upstream.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Reads the text of a patch. 400 for what is none, in the words of whoever looks first upstream: with field validation
/// that is a strict decoder.
pub fn read(kind: PatchKind, bytes: &[u8], validation: FieldValidation) -> Result<Parsed, ApiError> {
    decode::check_size(bytes)?;
    let duplicates = RefCell::new(Vec::new());
    let value = crate::parse::json(bytes, &duplicates).map_err(|why| refused(kind, validation, why))?;
    check(kind, validation, &value)?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

fn refused(kind: PatchKind, validation: FieldValidation, why: String) -> ApiError {
    ApiError::bad_request(match (kind, validation) {
        (PatchKind::Strategic, _) | (PatchKind::Json, FieldValidation::Ignore) => why,
        (PatchKind::Merge, FieldValidation::Ignore) => NO_MERGE_PATCH.to_owned(),
        (PatchKind::Json | PatchKind::Merge, _) => format!("error decoding patch: {why}"),
    })
}

const NO_MERGE_PATCH: &str = "Invalid JSON Patch";

fn check(kind: PatchKind, validation: FieldValidation, patch: &Value) -> Result<(), ApiError> {
    misfit(kind, validation, patch).map_or(Ok(()), |why| Err(refused(kind, validation, why)))
}

/// What is wrong with a patch that is JSON. A null is as good as an empty patch, but for merge patches.
fn misfit(kind: PatchKind, validation: FieldValidation, patch: &Value) -> Option<String> {
    let unfit =
        |value: &Value, place: &str| Some(format!("json: cannot unmarshal {} into Go {place}", json_type(value)));
    match kind {
        PatchKind::Json => {
            let (whole, part) = match validation {
                FieldValidation::Ignore => ("jsonpatch.Patch", "jsonpatch.Operation"),
                FieldValidation::Warn | FieldValidation::Strict => ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp"),
            };
            let operations = match patch {
                Value::Array(operations) => operations.as_slice(),
                Value::Null => &[],
                other => return unfit(other, &format!("value of type {whole}")),
            };
            operations.iter().find_map(|operation| match operation {
                Value::Null => None,
                Value::Object(_) if validation == FieldValidation::Ignore => None,
                Value::Object(members) => ["op", "path", "from"].iter().find_map(|name| match members.get(*name)? {
                    Value::Null | Value::String(_) => None,
                    other => unfit(other, &format!("struct field jsonPatchOp.{name} of type string")),
                }),
                other => unfit(other, &format!("value of type {part}")),
            })
        }
        PatchKind::Merge | PatchKind::Strategic => match patch {
            Value::Null | Value::Object(_) => None,
            other => unfit(other, "value of type map[string]interface {}"),
        },
    }
}

/// Applies a patch to a current object; upstream's errors (400 malformed, 422 that does not apply, 413 too many).
/// The result is not yet conformed: the caller does that, as for any body.
pub fn apply(
    schema: &Schema,
    type_id: TypeId,
    kind: PatchKind,
    patch: &Value,
    current: &Value,
) -> Result<Value, ApiError> {
    check(kind, FieldValidation::Ignore, patch)?;
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
    let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(ApiError::too_large(format!(
            "Request entity is too large: The allowed maximum operations in a JSON patch is \
             {MAX_JSON_PATCH_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    operations::apply(operations, current.clone()).ok_or_else(does_not_apply)
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
        return Err(ApiError::bad_request(NO_MERGE_PATCH));
    }
    let mut object = current.clone();
    json_patch::merge(&mut object, patch);
    Ok(object)
}

fn strategic(schema: &Schema, type_id: TypeId, patch: &Value, current: &Value) -> Result<Value, ApiError> {
    let (patch, current) = (patch.as_object().cloned(), current.as_object().cloned());
    let known = Known::Type(schema.get(type_id));
    let merged = Merge { schema }.map(current.unwrap_or_default(), patch.unwrap_or_default(), known);
    merged.map(Value::Object).map_err(ApiError::bad_request)
}

/// What upstream shows where it refuses what a patch has made: its decoder's text, or the patch itself.
pub fn shown(
    schema: &Schema,
    type_id: TypeId,
    kind: PatchKind,
    patch: &Value,
    current: &Value,
    patched: &Value,
) -> String {
    match kind {
        PatchKind::Json => shown::text(schema, type_id, patched, &Apart::by_operations(patch)),
        PatchKind::Merge => shown::text(schema, type_id, patched, &Apart::by_merge(patch, current)),
        PatchKind::Strategic => go_text::plain(patch),
    }
}
