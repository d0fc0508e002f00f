//! Strict decoding of request bodies: JSON and YAML.

use api_machinery::{ApiError, Value};
use api_schema::{Schema, TypeId};

/// `fieldValidation` of a request. Upstream's default for built-in kinds is `Warn`... when the parameter is absent it is `Warn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

/// Nothing larger is read into memory (upstream: 3 MiB).
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// Reads bytes as JSON or YAML without a schema. Refuses what is too deep, duplicate keys go to `duplicates`
/// (as upstream's paths, in order). 400 with upstream's text when malformed.
pub fn parse(_format: Format, _bytes: &[u8]) -> Result<Parsed, ApiError> {
    todo!()
}

#[derive(Debug)]
pub struct Parsed {
    pub value: Value,
    /// Messages such as `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

/// What field validation found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Text of the `Warning` headers, for `Warn`.
    pub warnings: Vec<String>,
}

/// Checks `value` against its type: wrong types are refused with 400 (upstream's strict decoding text),
/// unknown fields are pruned and, with `duplicates`, reported as warnings or (Strict) refused.
/// Explicit nulls of optional fields are dropped, as decoding into upstream's structs does.
pub fn conform(
    _schema: &Schema,
    _type_id: TypeId,
    _value: &mut Value,
    _duplicates: Vec<String>,
    _validation: FieldValidation,
) -> Result<Checked, ApiError> {
    todo!()
}
