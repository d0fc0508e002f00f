//! Strict decoding of request bodies.

use std::cell::RefCell;

use api_machinery::{ApiError, Value};
use api_schema::{Field, Holder, Schema, Shape, Type, TypeId};

use crate::path::Place;
use crate::scalar;

/// `fieldValidation` of a request; `Warn` when the parameter is absent.
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
    /// In its envelope, and of a built-in kind: see [`crate::protobuf`].
    Protobuf,
}

/// Nothing larger is read into memory (upstream: 3 MiB).
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// More findings of one body are not reported, as upstream.
pub(crate) const MAX_FINDINGS: usize = 100;

/// Reads bytes of any format. Refuses what is too deep, duplicate keys go to `duplicates`
/// (as upstream's paths, in order). 400 with upstream's text when malformed, 413 when larger than [`MAX_BODY_BYTES`].
pub fn parse(format: Format, bytes: &[u8]) -> Result<Parsed, ApiError> {
    check_size(bytes)?;
    let duplicates = RefCell::new(Vec::new());
    let (value, what) = match format {
        Format::Json => (crate::parse::json(bytes, &duplicates), "json"),
        Format::Yaml => (crate::parse::yaml(bytes, &duplicates), "yaml"),
        Format::Protobuf => {
            let (_, value) = crate::protobuf::decode(Schema::builtin(), bytes)?;
            return Ok(Parsed { value, duplicates: Vec::new() });
        }
    };
    let refused = |why: String| ApiError::bad_request(format!("couldn't get version/kind; {what} parse error: {why}"));
    Ok(Parsed { value: value.map_err(refused)?, duplicates: duplicates.into_inner() })
}

fn check_size(bytes: &[u8]) -> Result<(), ApiError> {
    if bytes.len() > MAX_BODY_BYTES {
        return Err(ApiError::too_large(format!("Request entity is too large: limit is {MAX_BODY_BYTES}")));
    }
    Ok(())
}

/// Reads a configuration of server-side apply, YAML or JSON: a map, empty where there is nothing. The same bounds, in
/// upstream's words for it.
pub fn configuration(bytes: &[u8]) -> Result<Parsed, ApiError> {
    check_size(bytes)?;
    // Programs send JSON, which is read much quicker as what it is.
    if bytes.first() == Some(&b'{') {
        let duplicates = RefCell::new(Vec::new());
        if let Ok(value) = crate::parse::json(bytes, &duplicates) {
            return Ok(Parsed { value, duplicates: duplicates.into_inner() });
        }
    }
    let duplicates = RefCell::new(Vec::new());
    let refused = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let value = match crate::parse::yaml(bytes, &duplicates).map_err(refused)? {
        Value::Null => Value::Object(serde_json::Map::new()),
        map @ Value::Object(_) => map,
        other => {
            let found = scalar::json_type(&other);
            return Err(refused(format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type \
                 map[string]interface {{}}"
            )));
        }
    };
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
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
///
/// What remains is what upstream's structs would write: explicit nulls are dropped, as are zero values of
/// fields that are left out when empty; quantities and times are canonical. Enum values are not checked here.
pub fn conform(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Checked, ApiError> {
    conform_as(schema, type_id, value, duplicates, validation, None)
}

/// The same of a JSON document, whose findings come in its order.
pub fn conform_json(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
    json: &[u8],
) -> Result<Checked, ApiError> {
    conform_as(schema, type_id, value, duplicates, validation, Some(json))
}

fn conform_as(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
    json: Option<&[u8]>,
) -> Result<Checked, ApiError> {
    check_as(schema, type_id, value, duplicates, validation, json)
        .map_err(|why| ApiError::bad_request(cannot_be_handled(value, schema.get(type_id), &why)))
}

/// The same, with the bare reason of a refusal.
pub fn check(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Checked, String> {
    check_as(schema, type_id, value, duplicates, validation, None)
}

/// The same of an object that was merged out of two and is typed already, with the bare reason of a refusal. Unknown
/// fields go, and numbers that a field has no room for lose their upper half, as upstream's converter has it.
pub fn settle(schema: &Schema, type_id: TypeId, value: &mut Value) -> Result<(), String> {
    let mut findings = Findings { messages: Vec::new(), wanted: false };
    Walk { schema, cuts: true }.message(schema.get(type_id), value, &Place::Root, &mut findings)
}

fn check_as(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
    json: Option<&[u8]>,
) -> Result<Checked, String> {
    let one = schema.get(type_id);
    let mut findings = Findings { messages: duplicates, wanted: validation != FieldValidation::Ignore };
    let walk = Walk { schema, cuts: false };
    if !value.is_object() {
        let found = scalar::json_type(value);
        return Err(format!("json: cannot unmarshal {found} into Go value of type {}", go_name(one)));
    }
    walk.message(one, value, &Place::Root, &mut findings)?;
    if let Some(json) = json.filter(|_| findings.wanted) {
        crate::order::sort(json, &mut findings.messages);
    }
    match validation {
        FieldValidation::Ignore => Ok(Checked::default()),
        FieldValidation::Warn => Ok(Checked { warnings: findings.messages }),
        FieldValidation::Strict if findings.messages.is_empty() => Ok(Checked::default()),
        FieldValidation::Strict => Err(format!("strict decoding error: {}", findings.messages.join(", "))),
    }
}

/// `v1.Pod`
fn go_name(one: &Type) -> &str {
    one.name.split_once('.').map_or(&one.name, |(_, rest)| rest)
}

/// Upstream's prefix of every decoding error. What the body does not say comes from the type.
fn cannot_be_handled(value: &Value, one: &Type, why: &str) -> String {
    let said = |field: &str| value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let version = said("apiVersion").map(|text| text.rsplit('/').next().unwrap_or(text));
    let own_version = one.name.rsplit('.').nth(1).unwrap_or("v1");
    format!(
        "{} in version \"{}\" cannot be handled as a {}: {why}",
        said("kind").unwrap_or(one.short_name()),
        version.unwrap_or(own_version),
        one.short_name()
    )
}

struct Findings {
    messages: Vec<String>,
    wanted: bool,
}

impl Findings {
    fn unknown(&mut self, parent: &Place<'_>, field: &str) {
        if self.wanted && self.messages.len() < MAX_FINDINGS {
            self.messages.push(format!("unknown field \"{}\"", Place::Field(parent, field)));
        }
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    /// Whether numbers that are too large are cut.
    cuts: bool,
}

/// Where a value is and what Go would call the place, for messages.
struct Spot<'a> {
    place: Place<'a>,
    owner: &'a Type,
    go_type: &'a str,
}

impl Spot<'_> {
    fn mismatch(&self, value: &Value, go_type: &str) -> String {
        let found = scalar::json_type_of(value, go_type);
        let (owner, fields) = (self.owner.short_name(), self.place.fields());
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{fields} of type {go_type}")
    }
    /// The spot of an element of this list or map.
    fn element<'b>(&'b self, place: Place<'b>) -> Spot<'b> {
        let go_type = self.go_type.strip_prefix("[]").or_else(|| self.go_type.strip_prefix("map[string]"));
        Spot { place, owner: self.owner, go_type: go_type.unwrap_or(self.go_type) }
    }
}

impl Walk<'_> {
    /// Every field of an object. What does not stay is dropped in a second pass, which most objects do not need.
    fn message(&self, one: &Type, value: &mut Value, place: &Place<'_>, findings: &mut Findings) -> Result<(), String> {
        let Value::Object(map) = value else { return Ok(()) };
        let mut all_stay = true;
        for (name, value) in map.iter_mut() {
            let Some(field) = one.field(name) else {
                findings.unknown(place, name);
                all_stay = false;
                continue;
            };
            if !value.is_null() {
                let holder = Place::Embedded(place, &field.embedded);
                let holder = if field.embedded.is_empty() { place } else { &holder };
                let spot = Spot { place: Place::Field(holder, name), owner: one, go_type: &field.go_type };
                self.value(&field.shape, value, &spot, findings)?;
            }
            all_stay &= stays(field, value);
        }
        if !all_stay {
            map.retain(|name, value| one.field(name).is_some_and(|field| stays(field, value)));
        }
        Ok(())
    }

    fn value(&self, shape: &Shape, value: &mut Value, spot: &Spot<'_>, findings: &mut Findings) -> Result<(), String> {
        match (shape, &mut *value) {
            (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Any, _) => Ok(()),
            (Shape::Message(id), Value::Object(_)) => self.message(self.schema.get(*id), value, &spot.place, findings),
            (Shape::List(element), Value::Array(list)) => self.list(element, list, spot, findings),
            (Shape::Map(element), Value::Object(map)) => self.map(element, map, spot, findings),
            (Shape::OneOf(shapes), _) => match shapes.iter().find(|shape| scalar::fits(shape, value)) {
                Some(shape) => self.value(shape, value, spot, findings),
                None => Err(spot.mismatch(value, spot.go_type)),
            },
            (Shape::Message(_) | Shape::List(_) | Shape::Map(_) | Shape::String | Shape::Bool, _) => {
                Err(spot.mismatch(value, spot.go_type))
            }
            (Shape::Int32, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(())
            }
            (Shape::Int32, Value::Number(number)) if self.cuts && number.is_i64() => {
                *value = (number.as_i64().unwrap_or_default() as i32).into();
                Ok(())
            }
            (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
            (Shape::Float64, Value::Number(_)) => Ok(()),
            (Shape::Int32 | Shape::Int64 | Shape::Float64, _) => Err(spot.mismatch(value, spot.go_type)),
            // Upstream has another reader for what was merged, which names no field and bytes its own way.
            (Shape::IntOrString, value) if !self.cuts => {
                scalar::canonical(shape, value).map_err(|_| spot.mismatch(value, "int32"))
            }
            (Shape::Bytes, value) if self.cuts && value.is_string() => {
                scalar::canonical(shape, value).map_err(|why| format!("error decoding from json: {why}"))
            }
            (shape, value) => scalar::canonical(shape, value),
        }
    }

    fn list(
        &self,
        element: &Shape,
        list: &mut [Value],
        spot: &Spot<'_>,
        findings: &mut Findings,
    ) -> Result<(), String> {
        for (index, value) in list.iter_mut().enumerate() {
            let spot = spot.element(Place::Index(&spot.place, index));
            if value.is_null() {
                *value = zero(element);
            }
            if !value.is_null() {
                self.value(element, value, &spot, findings)?;
            }
        }
        Ok(())
    }

    fn map(
        &self,
        element: &Shape,
        map: &mut serde_json::Map<String, Value>,
        spot: &Spot<'_>,
        findings: &mut Findings,
    ) -> Result<(), String> {
        // What stays null (a time) is as good as absent.
        if matches!(element, Shape::Time | Shape::MicroTime) {
            map.retain(|_, value| !value.is_null());
        }
        for (key, value) in map.iter_mut() {
            let spot = spot.element(Place::Key(&spot.place, key));
            if value.is_null() {
                *value = zero(element);
            }
            // An unset list in a map is as good as one that is there.
            if !value.is_null() {
                self.value(element, value, &spot, findings)?;
            }
            if *element == Shape::Quantity {
                scalar::round_up_to_milli(value);
            }
        }
        Ok(())
    }
}

/// What a null element of a list or map becomes in Go: the zero value of its type.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => 0.into(),
        Shape::String | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Message(_) => Value::Object(serde_json::Map::new()),
        _ => Value::Null,
    }
}

fn stays(field: &Field, value: &Value) -> bool {
    !value.is_null() && !left_out(field, value)
}

/// Whether Go leaves the field out when it writes this value.
fn left_out(field: &Field, value: &Value) -> bool {
    field.omit_empty
        && !field.told_empty
        && match (field.holder, value) {
            (Holder::Pointer, _) => false,
            (Holder::Collection, Value::Array(list)) => list.is_empty(),
            (Holder::Collection, Value::Object(map)) => map.is_empty(),
            (_, Value::String(text)) => text.is_empty() && matches!(field.shape, Shape::String | Shape::Bytes),
            (Holder::Value, Value::Bool(set)) => !set && field.shape == Shape::Bool,
            (Holder::Value, Value::Number(number)) => {
                matches!(field.shape, Shape::Int32 | Shape::Int64) && number.as_i64() == Some(0)
            }
            _ => false,
        }
}
