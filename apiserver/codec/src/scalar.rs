//! Scalars with an encoding of their own: quantities, times, bytes, int-or-string.

use api_machinery::quantity::Quantity;
use api_machinery::quote::quoted;
use api_machinery::{Value, time};
use api_schema::Shape;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::go_time::{self, Layout};

/// What Go's decoder calls a JSON value.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number that does not fit a number type is shown with its digits.
pub(crate) fn json_type_of(value: &Value, go_type: &str) -> String {
    match value {
        Value::Number(number) if matches!(go_type, "int32" | "int64" | "float64") => format!("number {number}"),
        value => json_type(value).to_owned(),
    }
}

/// Whether the value's JSON type is the shape's.
pub(crate) fn fits(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Bool => value.is_boolean(),
        Shape::Int32 | Shape::Int64 | Shape::Float64 => value.is_number(),
        Shape::Message(_) | Shape::Map(_) => value.is_object(),
        Shape::List(_) => value.is_array(),
        Shape::IntOrString | Shape::Quantity => value.is_number() || value.is_string(),
        Shape::Any => true,
        Shape::OneOf(shapes) => shapes.iter().any(|shape| fits(shape, value)),
        Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Duration => value.is_string(),
    }
}

fn no_string(value: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type string", json_type(value))
}

/// Checks a special scalar and writes it as upstream would. The error is upstream's text.
pub(crate) fn canonical(shape: &Shape, value: &mut Value) -> Result<(), String> {
    match shape {
        Shape::Quantity => quantity(value),
        Shape::IntOrString => int_or_string(value),
        Shape::Time => on_time(value, Layout::Seconds, time::seconds),
        Shape::MicroTime => on_time(value, Layout::Micros, time::micros),
        Shape::Duration => value.as_str().map(|_| ()).ok_or_else(|| no_string(value)),
        Shape::Bytes => bytes(value),
        other if fits(other, value) => Ok(()),
        _ => Err(no_string(value)),
    }
}

fn quantity(value: &mut Value) -> Result<(), String> {
    let parsed = match &*value {
        Value::String(text) => Quantity::parse(text.trim())?,
        Value::Number(number) => Quantity::parse(&number.to_string())?,
        other => Quantity::parse(&other.to_string())?,
    };
    write_quantity(value, parsed);
    Ok(())
}

/// Only writes when the text changes.
fn write_quantity(value: &mut Value, quantity: Quantity) {
    let text = quantity.to_string();
    if value.as_str() != Some(text.as_str()) {
        *value = Value::String(text);
    }
}

/// What upstream's defaulting does to every value of a resource list.
pub(crate) fn round_up_to_milli(value: &mut Value) {
    if let Some(Ok(parsed)) = value.as_str().map(Quantity::parse) {
        let rounded = parsed.round_up_to_milli();
        if rounded != parsed {
            write_quantity(value, rounded);
        }
    }
}

fn int_or_string(value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
        other => Err(format!("json: cannot unmarshal {} into Go value of type int32", json_type_of(other, "int32"))),
    }
}

fn on_time(value: &mut Value, layout: Layout, write: fn(jiff::Timestamp) -> String) -> Result<(), String> {
    let Value::String(text) = value else { return Err(no_string(value)) };
    go_time::check(text, layout)?;
    let parsed = time::parse(text).ok_or_else(|| format!("parsing time {}: day out of range", quoted(text)))?;
    let canonical = write(parsed);
    if *text != canonical {
        *text = canonical;
    }
    Ok(())
}

fn bytes(value: &mut Value) -> Result<(), String> {
    let Value::String(text) = value else { return Err(no_string(value)) };
    // Go ignores line breaks in base64.
    if text.contains(['\n', '\r']) {
        text.retain(|c| c != '\n' && c != '\r');
    }
    let Err(error) = STANDARD.decode(text.as_bytes()) else { return Ok(()) };
    Err(go_base64_error(text, &error))
}

/// What Go says of a text that is not base64, and where its decoder stops.
pub fn go_base64_error(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    };
    format!("illegal base64 data at input byte {at}")
}
