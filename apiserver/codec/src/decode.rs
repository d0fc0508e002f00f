//! Strict decoding of request bodies.

use std::cell::RefCell;

use api_machinery::{ApiError, Value};
use api_schema::{Field, Holder, Schema, Shape, Type, TypeId};

use crate::path::Place;
use crate::{go_text, scalar};

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
    parse_as(format, bytes, &malformed)
}

/// 400 with nothing but the reason.
pub(crate) fn malformed(why: String) -> ApiError {
    ApiError::bad_request(why)
}

/// The same of a body that is to be of a kind.
pub fn parse_object(format: Format, bytes: &[u8], kind: &str) -> Result<Parsed, ApiError> {
    parse_as(format, bytes, &|why| unrecognized(kind, &why, bytes))
}

/// `refused`: what is said of bytes of which not even a kind can be read.
fn parse_as(format: Format, bytes: &[u8], refused: &dyn Fn(String) -> ApiError) -> Result<Parsed, ApiError> {
    check_size(bytes)?;
    let duplicates = RefCell::new(Vec::new());
    let value = match format {
        Format::Json => crate::parse::json(bytes, &duplicates).map_err(|why| refused(kindless(&why)))?,
        Format::Yaml => crate::parse::yaml(bytes, &duplicates).map_err(refused)?,
        Format::Protobuf => crate::protobuf::read(Schema::builtin(), bytes, refused)?.1,
    };
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

/// What upstream says where it looks for a kind first.
fn kindless(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

/// The same of JSON that has no place for a kind, or something else in it. In a null there is no kind, and nothing
/// wrong with that.
pub fn no_kind(value: &Value) -> Option<String> {
    let (found, place) = match value {
        Value::Null => return None,
        Value::Object(map) => {
            let wrong = |name: &'static str| {
                Some(name).zip(map.get(name).filter(|value| !value.is_null() && !value.is_string()))
            };
            let (name, found) = ["apiVersion", "kind"].into_iter().find_map(wrong)?;
            (found, format!("struct field .{name} of type string"))
        }
        other => {
            let fields = r#"APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"""#;
            (other, format!("value of type struct {{ {fields} }}"))
        }
    };
    Some(kindless(&format!("json: cannot unmarshal {} into Go {place}", scalar::json_type(found))))
}

/// 400 for a body in which no kind can be found, with how it begins: but of secrets, because refusals are written into
/// logs.
pub fn unrecognized(kind: &str, why: &str, body: &[u8]) -> ApiError {
    const SHOWN_BYTES: usize = 30;
    let begin = &body[..body.len().min(SHOWN_BYTES)];
    let shown = match body.first() {
        None => "<empty>".to_owned(),
        Some(_) if kind == "Secret" => "<secret contents redacted>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(begin).into_owned(),
        Some(_) => begin.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let more = if body.len() > SHOWN_BYTES && kind != "Secret" { " ..." } else { "" };
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown}{more})"
    ))
}

pub(crate) fn check_size(bytes: &[u8]) -> Result<(), ApiError> {
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
    let unread = |why: String| refused(format!("error converting YAML to JSON: {why}"));
    let value = match crate::parse::yaml(bytes, &duplicates).map_err(unread)? {
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
/// Only where validation tells an empty list or map from none ([`Field::told_empty`]) it stays, until
/// [`crate::default::drop_told_empty`].
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
    let walk = Walk { schema, merged: false };
    check_as(&walk, type_id, value, duplicates, validation, json)
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
    check_as(&Walk { schema, merged: false }, type_id, value, duplicates, validation, None)
}

/// The same of an object that was merged out of two: upstream has a converter for it, which has its own words, and cuts
/// numbers that a field has no room for.
pub fn check_merged(
    schema: &Schema,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Checked, String> {
    check_as(&Walk { schema, merged: true }, type_id, value, duplicates, validation, None)
}

/// The same of what is typed already, with the bare reason of a refusal. Unknown fields go.
pub fn settle(schema: &Schema, type_id: TypeId, value: &mut Value) -> Result<(), String> {
    let mut findings = Findings { messages: Vec::new(), wanted: false, mismatch: None };
    Walk { schema, merged: true }.message(schema.get(type_id), value, &Place::Root, &mut findings)
}

fn check_as(
    walk: &Walk<'_>,
    type_id: TypeId,
    value: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
    json: Option<&[u8]>,
) -> Result<Checked, String> {
    let one = walk.schema.get(type_id);
    let found_before = duplicates.len();
    let wanted = validation != FieldValidation::Ignore;
    let mut findings = Findings { messages: duplicates, wanted, mismatch: None };
    if !value.is_object() {
        let found = scalar::json_type(value);
        return Err(format!("json: cannot unmarshal {found} into Go value of type {}", go_name(one)));
    }
    walk.message(one, value, &Place::Root, &mut findings)?;
    if let Some(why) = findings.mismatch {
        return Err(why);
    }
    if let Some(json) = json.filter(|_| findings.wanted) {
        crate::order::sort(json, &mut findings.messages);
    }
    if walk.merged {
        findings.messages[found_before..].sort();
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
    /// The first value of another type than Go's own. Go reads on, and what a type that reads itself says of another
    /// value comes before.
    mismatch: Option<String>,
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
    /// Whether it is as upstream's converter of what was merged does it, and not as its decoder.
    merged: bool,
}

/// Where a value is and what Go would call the place, for messages.
struct Spot<'a> {
    place: Place<'a>,
    owner: &'a Type,
    go_type: &'a str,
    /// The name of a list or map as a whole.
    alias: Option<&'a str>,
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
        Spot { place, owner: self.owner, go_type: go_type.unwrap_or(self.go_type), alias: None }
    }
}

impl Walk<'_> {
    fn mismatch(&self, shape: &Shape, value: &Value, spot: &Spot<'_>) -> String {
        match self.merged {
            true => unconverted(shape, value, spot.go_type),
            false => spot.mismatch(value, spot.alias.unwrap_or(spot.go_type)),
        }
    }

    fn refuse(&self, shape: &Shape, value: &Value, spot: &Spot<'_>, findings: &mut Findings) -> Result<(), String> {
        let why = self.mismatch(shape, value, spot);
        if self.merged {
            return Err(why);
        }
        findings.mismatch.get_or_insert(why);
        Ok(())
    }

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
                let (go_type, alias) = (field.go_type.as_str(), field.go_alias.as_deref());
                let spot = Spot { place: Place::Field(holder, name), owner: one, go_type, alias };
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
                None if spot.go_type == "v1.JSONSchemaPropsOrBool" => Err("boolean or JSON schema expected".to_owned()),
                // As upstream: what is neither a schema nor a list says nothing.
                None => {
                    *value = Value::Null;
                    Ok(())
                }
            },
            (Shape::Message(_) | Shape::List(_) | Shape::Map(_) | Shape::String | Shape::Bool, _) => {
                self.refuse(shape, value, spot, findings)
            }
            (Shape::Int32, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(())
            }
            (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
            (Shape::Float64, Value::Number(_)) => Ok(()),
            (Shape::Int32 | Shape::Int64, Value::Number(number)) if self.merged => match cut(shape, number) {
                Some(number) => {
                    *value = number;
                    Ok(())
                }
                None => Err(self.mismatch(shape, value, spot)),
            },
            (Shape::Int32 | Shape::Int64 | Shape::Float64, _) => self.refuse(shape, value, spot, findings),
            (Shape::IntOrString, value) if !self.merged => {
                scalar::canonical(shape, value).map_err(|_| spot.mismatch(value, "int32"))
            }
            (Shape::Bytes, value) if self.merged && !value.is_string() => Err(self.mismatch(shape, value, spot)),
            (Shape::Bytes, value) if self.merged => {
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

/// A whole number as upstream's converter puts it into an integer of another size.
fn cut(shape: &Shape, number: &serde_json::Number) -> Option<Value> {
    let float = || number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
    let whole = number.as_i64().or_else(float)?;
    Some(if *shape == Shape::Int32 { (whole as i32).into() } else { whole.into() })
}

/// What upstream's converter says of a value that is none of a type.
fn unconverted(shape: &Shape, value: &Value, go_type: &str) -> String {
    let found = go_text::kind_name(value);
    match shape {
        Shape::Message(_) => format!("cannot restore struct from: {found}"),
        Shape::Map(_) => format!("cannot restore map from {found}"),
        Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {found}"),
        // Go makes texts of whole numbers, and whole numbers of any, and upstream does not want it to.
        Shape::String if found == "int64" => format!("cannot convert int64 to {go_type}"),
        Shape::Int32 | Shape::Int64 if value.is_number() => format!("cannot convert {found} to {go_type}"),
        Shape::Bool => "unrecognized type: bool".to_owned(),
        Shape::Int32 => "unrecognized type: int32".to_owned(),
        Shape::Int64 => "unrecognized type: int64".to_owned(),
        Shape::Float64 => "unrecognized type: float64".to_owned(),
        _ => "unrecognized type: string".to_owned(),
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

/// Whether Go leaves the field out when it writes this value, and nothing before that asks whether it was there.
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
