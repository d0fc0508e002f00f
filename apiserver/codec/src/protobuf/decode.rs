//! From a message to the value that the JSON of the same object would give.

use std::cell::RefCell;

use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Value};
use api_schema::{Field, Schema, Shape, Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;

use super::wire::{Payload, Reader};
use super::{MAGIC, is_wrapped_list, on_wire, scalar, type_of};
use crate::depth::MAX_DEPTH;
use crate::parse::{self, TOO_DEEP};

/// Reads an object from its envelope: its kind, and its value with `apiVersion` and `kind`.
///
/// Fields that the type does not have are skipped. Zero values are kept where they were sent; conforming drops those
/// that JSON leaves out. 400 when malformed, too deep, or of a kind that is not known. The caller bounds the size.
pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<(GroupVersionKind, Value), ApiError> {
    read(schema, bytes, &crate::decode::malformed)
}

/// The same. `refused`: what is said of bytes that are not even an envelope.
pub(crate) fn read(
    schema: &Schema,
    bytes: &[u8],
    refused: &dyn Fn(String) -> ApiError,
) -> Result<(GroupVersionKind, Value), ApiError> {
    let envelope = Envelope::read(bytes).map_err(refused)?;
    let gvk = envelope.gvk();
    let cannot = |why| {
        let (kind, version) = (&gvk.kind, &gvk.version);
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    };
    let value = envelope.value(schema, 0).map_err(cannot)?;
    Ok((gvk, value))
}

/// `runtime.Unknown`
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("empty data".to_owned());
        }
        let Some(bytes) = bytes.strip_prefix(&MAGIC) else {
            let prefix = MAGIC.map(|byte| byte.to_string()).join(" ");
            return Err(format!("provided data does not appear to be a protobuf message, expected prefix [{prefix}]"));
        };
        if bytes.is_empty() {
            return Err("empty body".to_owned());
        }
        let mut envelope = Self::default();
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            match tag {
                1 => envelope.type_meta(payload.bytes()?)?,
                2 => envelope.raw = payload.bytes()?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn type_meta(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            match tag {
                1 => self.api_version = payload.text()?,
                2 => self.kind = payload.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn gvk(&self) -> GroupVersionKind {
        let gv = GroupVersion::parse(self.api_version);
        GroupVersionKind { group: gv.group, version: gv.version, kind: self.kind.into() }
    }

    fn value(&self, schema: &Schema, depth: usize) -> Result<Value, String> {
        if self.kind.is_empty() {
            return Err("Object 'Kind' is missing in the protobuf envelope".to_owned());
        }
        let Some(id) = type_of(schema, &self.gvk()) else {
            return Err(format!(
                "no kind {:?} is registered for version {:?} in protobuf",
                self.kind, self.api_version
            ));
        };
        let mut map = Map::new();
        map.insert("apiVersion".to_owned(), self.api_version.into());
        map.insert("kind".to_owned(), self.kind.into());
        Decoder { schema }.message(schema.get(id), self.raw, &mut map, deeper(depth)?)?;
        Ok(Value::Object(map))
    }
}

/// One object or list further in. JSON that deep is not read either.
fn deeper(depth: usize) -> Result<usize, String> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(TOO_DEEP.to_owned()) }
}

struct Decoder<'a> {
    schema: &'a Schema,
}

/// The field of a tag, or the one of the fields nested under it.
fn field_of(one: &Type, tag: u32) -> Option<&Field> {
    let outermost = |field: &Field| field.nesting.first().copied().unwrap_or(field.tag);
    let first = one.fields.partition_point(|field| outermost(field) < tag);
    one.fields[first..].iter().take_while(|field| outermost(field) == tag).find(|field| on_wire(one, field))
}

/// The value of a field so far, made when it is the first.
fn list_at<'a>(map: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Vec<Value>, String> {
    let list = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut().ok_or_else(|| format!("{name} is no list"))
}

fn object_at<'a>(map: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Map<String, Value>, String> {
    let object = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    object.as_object_mut().ok_or_else(|| format!("{name} is no object"))
}

impl Decoder<'_> {
    fn message(&self, one: &Type, bytes: &[u8], map: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            let Some(field) = field_of(one, tag) else { continue };
            if !field.nesting.is_empty() {
                // What JSON has in the same object is a message of its own here.
                let inlined = one.inlined.iter().find(|(_, own)| *own == tag);
                let (id, _) = inlined.ok_or_else(|| format!("{} has no message {tag}", one.name))?;
                self.message(self.schema.get(*id), payload.bytes()?, map, depth)?;
                continue;
            }
            self.field(field, payload, map, depth).map_err(|why| in_field(field, why))?;
        }
        Ok(())
    }

    fn field(
        &self,
        field: &Field,
        payload: Payload<'_>,
        map: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        let name = field.json.as_str();
        match &field.shape {
            Shape::List(element) if !is_wrapped_list(field) => {
                let depth = deeper(depth)?;
                self.element(element, payload, list_at(map, name)?, depth)
            }
            Shape::Map(element) => {
                let depth = deeper(depth)?;
                self.entry(element, payload.bytes()?, object_at(map, name)?, depth)
            }
            // Parts of a message that come one after the other add up.
            Shape::Message(id) => {
                let depth = deeper(depth)?;
                self.message(self.schema.get(*id), payload.bytes()?, object_at(map, name)?, depth)
            }
            shape => {
                let value = self.value(shape, payload, depth)?;
                map.insert(name.to_owned(), value);
                Ok(())
            }
        }
    }

    /// One element of a list; numbers may come packed, many at once.
    fn element(
        &self,
        element: &Shape,
        payload: Payload<'_>,
        list: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), String> {
        match (element, payload) {
            (Shape::Int32 | Shape::Int64 | Shape::Bool, Payload::Bytes(packed)) => {
                let mut reader = Reader(packed);
                while !reader.0.is_empty() {
                    list.push(self.value(element, Payload::Varint(reader.varint()?), depth)?);
                }
            }
            _ => list.push(self.value(element, payload, depth)?),
        }
        Ok(())
    }

    /// One entry of a map: key 1, value 2. What is missing is zero.
    fn entry(&self, element: &Shape, bytes: &[u8], map: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
        let (mut key, mut value) = ("", None);
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            match tag {
                1 => key = payload.text()?,
                2 => value = Some(payload),
                _ => {}
            }
        }
        let zero = match element {
            Shape::Bool | Shape::Int32 | Shape::Int64 => Payload::Varint(0),
            Shape::Float64 => Payload::Fixed64(0),
            _ => Payload::Bytes(&[]),
        };
        map.insert(key.to_owned(), self.value(element, value.unwrap_or(zero), depth)?);
        Ok(())
    }

    /// `depth` is that of the object or list that the value is in.
    fn value(&self, shape: &Shape, payload: Payload<'_>, depth: usize) -> Result<Value, String> {
        Ok(match shape {
            Shape::String => payload.text()?.into(),
            Shape::Bool => (payload.varint()? != 0).into(),
            Shape::Int32 => (payload.varint()? as i32).into(),
            Shape::Int64 => (payload.varint()? as i64).into(),
            Shape::Float64 => scalar::float(f64::from_bits(payload.fixed64()?))?,
            Shape::Bytes => STANDARD.encode(payload.bytes()?).into(),
            Shape::Quantity => scalar::read_quantity(payload.bytes()?)?,
            Shape::IntOrString => scalar::read_int_or_string(payload.bytes()?)?,
            Shape::Time => scalar::read_time(payload.bytes()?, false)?,
            Shape::MicroTime => scalar::read_time(payload.bytes()?, true)?,
            Shape::Duration => scalar::read_duration(payload.bytes()?)?,
            Shape::Any => self.any(payload.bytes()?, depth)?,
            Shape::Message(id) => {
                let mut map = Map::new();
                self.message(self.schema.get(*id), payload.bytes()?, &mut map, deeper(depth)?)?;
                Value::Object(map)
            }
            Shape::List(element) => Value::Array(self.repeated(1, element, payload.bytes()?, deeper(depth)?)?),
            Shape::OneOf(shapes) => self.one_of(shapes, payload.bytes()?, depth)?,
            Shape::Map(_) => return Err("a map in a list or map has no protobuf form".to_owned()),
        })
    }

    /// All elements with this tag of a message.
    fn repeated(&self, wanted: u32, element: &Shape, bytes: &[u8], depth: usize) -> Result<Vec<Value>, String> {
        let mut list = Vec::new();
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            if tag == wanted {
                self.element(element, payload, &mut list, depth)?;
            }
        }
        Ok(list)
    }

    /// The bytes of tag 1: JSON, or another object in its envelope.
    fn any(&self, bytes: &[u8], depth: usize) -> Result<Value, String> {
        let mut raw: &[u8] = &[];
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            if tag == 1 {
                raw = payload.bytes()?;
            }
        }
        if raw.is_empty() {
            return Ok(Value::Null);
        }
        if raw.starts_with(&MAGIC) {
            return Envelope::read(raw)?.value(self.schema, depth);
        }
        // The last of several equal keys wins, as where JSON is kept as it is.
        parse::json_at(raw, depth, &RefCell::new(Vec::new()))
    }

    /// See `Encoder::one_of`.
    fn one_of(&self, shapes: &[Shape], bytes: &[u8], depth: usize) -> Result<Value, String> {
        let [schema, other] = shapes else { return Err("neither one nor the other".to_owned()) };
        let (schema_tag, other_tag) = if *other == Shape::Bool { (2, 1) } else { (1, 2) };
        let mut found = None;
        let mut allows = false;
        let mut reader = Reader(bytes);
        while let Some((tag, payload)) = reader.next()? {
            if tag == schema_tag {
                found = Some(self.value(schema, payload, depth)?);
            } else if tag == other_tag && *other == Shape::Bool {
                allows = payload.varint()? != 0;
            }
        }
        match (found, other) {
            (Some(schema), _) => Ok(schema),
            (None, Shape::List(element)) => {
                Ok(Value::Array(self.repeated(other_tag, element, bytes, deeper(depth)?)?))
            }
            (None, _) => Ok(allows.into()),
        }
    }
}

/// Says where, once: the innermost field is enough.
fn in_field(field: &Field, why: String) -> String {
    if why.contains(" (in field ") { why } else { format!("{why} (in field {})", field.json) }
}
