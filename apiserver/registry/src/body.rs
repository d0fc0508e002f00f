//! From a body to an object of the kind that the path says.

use api_codec::decode::{self, FieldValidation};
use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Value};
use api_schema::{Resource, Schema, TypeId};

use crate::{Body, aside};

/// A decoded body.
pub(crate) struct Incoming {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// Reads an object: it has the expected type afterwards, with what its type does not know pruned, reported
/// or refused. Not defaulted.
pub(crate) fn object(
    schema: &Schema,
    body: Body,
    type_id: Option<TypeId>,
    expected: &GroupVersionKind,
    validation: FieldValidation,
) -> Result<Incoming, ApiError> {
    let size = body.size();
    let json = body.json();
    let (mut value, duplicates) = parse(body)?;
    claim_type(&mut value, expected)?;
    let mut warnings = Vec::new();
    if let Some(type_id) = type_id {
        let work = || match json {
            Some(json) => decode::conform_json(schema, type_id, &mut value, duplicates, validation, &json),
            None => decode::conform(schema, type_id, &mut value, duplicates, validation),
        };
        warnings = aside::on_bytes(size, work)?.warnings;
    }
    Ok(Incoming { value, warnings })
}

/// A body as plain JSON: patches.
pub(crate) fn parse(body: Body) -> Result<(Value, Vec<String>), ApiError> {
    match body {
        Body::Value(value) => Ok((value, Vec::new())),
        Body::Bytes { format, bytes } => {
            let parsed = aside::on_bytes(bytes.len(), || decode::parse(format, &bytes))?;
            Ok((parsed.value, parsed.duplicates))
        }
    }
}

/// `apiVersion` and `kind` are what the path says; where they are left out they are filled in.
pub(crate) fn claim_type(value: &mut Value, expected: &GroupVersionKind) -> Result<(), ApiError> {
    let wanted = GroupVersion { group: expected.group.clone(), version: expected.version.clone() }.to_string();
    let Some(map) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: cannot unmarshal {} into a Kubernetes object",
            kind_of_json(value)
        )));
    };
    let given = map.get("apiVersion").and_then(Value::as_str).unwrap_or("").to_owned();
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    if !given.is_empty() && given != wanted {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        )));
    }
    if !kind.is_empty() && kind != *expected.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: no kind {kind:?} is registered for version {wanted:?} at this path",
            expected.version, expected.kind
        )));
    }
    map.insert("apiVersion".to_owned(), wanted.into());
    map.insert("kind".to_owned(), expected.kind.to_string().into());
    Ok(())
}

fn kind_of_json(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Static defaults, then those that depend on other fields.
pub(crate) fn default(schema: &Schema, resource: &Resource, value: &mut Value) {
    api_codec::default::apply_defaults(schema, crate::convert::defaulted(schema, resource), value);
    api_kinds::of(&resource.group_resource()).default(value);
}
