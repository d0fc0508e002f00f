//! From a body to an object of the kind that the path says.

use api_codec::decode;
use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Value, object};
use api_schema::{Resource, Schema, TypeId};
use bytes::Bytes;
use serde_json::Map;

use crate::scope::Scope;
use crate::{Body, aside, convert};

/// Reads an object: it has the expected type afterwards, with what its type does not know pruned, warned of
/// or refused. Not defaulted.
pub(crate) fn object(
    schema: &Schema,
    scope: &Scope<'_>,
    body: Body,
    type_id: Option<TypeId>,
    expected: &GroupVersionKind,
) -> Result<Value, ApiError> {
    let (size, json, validation) = (body.size(), body.json(), scope.info.field_validation);
    let (mut value, duplicates) = parse(body, expected)?;
    claim_type(&mut value, expected)?;
    if let Some(type_id) = type_id {
        let work = || match json {
            Some(json) => decode::conform_json(schema, type_id, &mut value, duplicates, validation, &json),
            None => decode::conform(schema, type_id, &mut value, duplicates, validation),
        };
        scope.warn(aside::on_bytes(size, work)?.warnings);
    }
    Ok(value)
}

/// A body that is an object. A null is one that says nothing.
fn parse(body: Body, expected: &GroupVersionKind) -> Result<(Value, Vec<String>), ApiError> {
    let (value, duplicates, bytes) = match body {
        Body::Value(value) => (value, Vec::new(), Bytes::new()),
        Body::Bytes { format, bytes } => {
            let parsed = aside::on_bytes(bytes.len(), || decode::parse_object(format, &bytes, &expected.kind))?;
            (parsed.value, parsed.duplicates, bytes)
        }
    };
    if let Some(why) = decode::no_kind(&value) {
        return Err(decode::unrecognized(&expected.kind, &why, &bytes));
    }
    let value = if value.is_null() { Value::Object(Map::new()) } else { value };
    Ok((value, duplicates))
}

/// The `apiVersion` of a kind.
pub(crate) fn api_version(of: &GroupVersionKind) -> String {
    GroupVersion { group: of.group.clone(), version: of.version.clone() }.to_string()
}

/// `apiVersion` and `kind` are what the path says; where they are left out they are filled in.
fn claim_type(value: &mut Value, expected: &GroupVersionKind) -> Result<(), ApiError> {
    let wanted = api_version(expected);
    let (given, kind) = (object::str_at(value, "apiVersion"), object::str_at(value, "kind"));
    if !given.is_empty() && given != wanted {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        )));
    }
    if !kind.is_empty() && kind != &*expected.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: {}",
            expected.version,
            expected.kind,
            not_served(kind, &wanted)
        )));
    }
    set_type(value, expected);
    Ok(())
}

/// What a path says of another kind.
pub(crate) fn not_served(kind: &str, api_version: &str) -> String {
    format!("no kind {kind:?} is registered for version {api_version:?} at this path")
}

pub(crate) fn set_type(value: &mut Value, expected: &GroupVersionKind) {
    value["apiVersion"] = api_version(expected).into();
    value["kind"] = expected.kind.to_string().into();
}

/// Static defaults, then those that depend on other fields.
pub(crate) fn default(schema: &Schema, resource: &Resource, value: &mut Value) {
    convert::as_defaulted(schema, resource, value, |resource, value| {
        api_codec::default::apply_defaults(schema, resource, value);
        api_kinds::of(&resource.group_resource()).default(value);
    });
}
