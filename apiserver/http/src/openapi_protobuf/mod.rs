//! OpenAPI in protobuf: the documents of gnostic's schemas, written from the JSON ones.
//!
//! Each message is a table of its fields. What is in a document of ours and in no table is left out.

pub(crate) mod v2;
pub(crate) mod v3;

use serde_json::Value;

/// How a JSON value is written.
enum Kind {
    Text,
    Bool,
    Integer,
    Texts,
    /// A value of any kind, as YAML; JSON is such.
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// A message of `name`, `value` pairs under this tag.
    Map(u32, &'static Message),
    Double,
    /// `{ it = 1, reference = 2 }`: a message, or where it is.
    Either(&'static Message),
    Eithers(&'static Message),
    /// A message of `name`, `value` pairs under tag 1, each value as in [`Self::Either`].
    EitherMap(&'static Message),
    /// By a function of its own.
    Special(fn(&Value) -> Vec<u8>),
    /// The same for each element.
    Specials(fn(&Value) -> Vec<u8>),
}

/// The fields of a message: JSON name, tag, kind; and the tag of its `x-...` extensions.
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: Option<u32>,
}

use Kind::{
    Any, Anys, Bool, Double, Either, EitherMap, Eithers, Integer, Many, Map, One, Special, Specials, Text, Texts,
};

const VARINT: u32 = 0;
const FIXED: u32 = 1;
const DELIMITED: u32 = 2;

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_number(out: &mut Vec<u8>, tag: u32, value: u64) {
    push_varint(out, u64::from(tag << 3 | VARINT));
    push_varint(out, value);
}

fn push_double(out: &mut Vec<u8>, tag: u32, value: f64) {
    push_varint(out, u64::from(tag << 3 | FIXED));
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    push_varint(out, u64::from(tag << 3 | DELIMITED));
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message with one field.
fn only(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    push_bytes(&mut out, tag, bytes);
    out
}

fn message(of: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, tag, kind) in of.fields {
        if let Some(value) = value.get(name) {
            push_field(&mut out, *tag, kind, value);
        }
    }
    if let Some(tag) = of.extensions {
        let extensions = value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
        extensions.for_each(|(name, value)| push_bytes(&mut out, tag, &named(name, &any(value))));
    }
    out
}

fn push_field(out: &mut Vec<u8>, tag: u32, kind: &Kind, value: &Value) {
    let list = || value.as_array().into_iter().flatten();
    match kind {
        Text => push_bytes(out, tag, value.as_str().unwrap_or("").as_bytes()),
        Bool => push_number(out, tag, u64::from(value.as_bool().unwrap_or(false))),
        Integer => push_number(out, tag, value.as_i64().unwrap_or(0).cast_unsigned()),
        Texts => list().for_each(|item| push_bytes(out, tag, item.as_str().unwrap_or("").as_bytes())),
        Any => push_bytes(out, tag, &any(value)),
        Anys => list().for_each(|item| push_bytes(out, tag, &any(item))),
        One(of) => push_bytes(out, tag, &message(of, value)),
        Many(of) => list().for_each(|item| push_bytes(out, tag, &message(of, item))),
        Map(inner, of) => push_bytes(out, tag, &map(value, *inner, |item| message(of, item))),
        Double => push_double(out, tag, value.as_f64().unwrap_or(0.0)),
        Either(of) => push_bytes(out, tag, &either(of, value)),
        Eithers(of) => list().for_each(|item| push_bytes(out, tag, &either(of, item))),
        EitherMap(of) => push_bytes(out, tag, &map(value, 1, |item| either(of, item))),
        Special(write) => push_bytes(out, tag, &write(value)),
        Specials(write) => list().for_each(|item| push_bytes(out, tag, &write(item))),
    }
}

static REFERENCE: Message = Message { fields: &[("$ref", 1, Text)], extensions: None };

fn either(of: &Message, value: &Value) -> Vec<u8> {
    match value.get("$ref") {
        Some(_) => only(2, &message(&REFERENCE, value)),
        None => only(1, &message(of, value)),
    }
}

/// `Any { yaml = 2 }`
fn any(value: &Value) -> Vec<u8> {
    only(2, value.to_string().as_bytes())
}

/// `Named... { name = 1; value = 2 }`
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = only(1, name.as_bytes());
    push_bytes(&mut out, 2, value);
    out
}

fn map(value: &Value, tag: u32, write: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        push_bytes(&mut out, tag, &named(name, &write(value)));
    }
    out
}

/// `AdditionalPropertiesItem { it = 1, boolean = 2 }`
fn schema_or_bool(value: &Value, schema: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    match value.as_bool() {
        Some(allowed) => {
            let mut out = Vec::new();
            push_number(&mut out, 2, u64::from(allowed));
            out
        }
        None => only(1, &schema(value)),
    }
}

/// `SecurityRequirement { additional_properties = 1 }` of `StringArray { value = 1 }`
fn requirement(value: &Value) -> Vec<u8> {
    map(value, 1, |scopes| {
        let mut out = Vec::new();
        push_field(&mut out, 1, &Texts, scopes);
        out
    })
}

/// Reads messages back, for the tests of both versions.
#[cfg(test)]
mod reading {
    /// Fields of a message by tag; those that are varints are empty.
    fn fields(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let varint = |bytes: &mut &[u8]| {
            let (mut value, mut shift) = (0u64, 0);
            loop {
                let (byte, rest) = bytes.split_first().expect("more");
                *bytes = rest;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return value;
                }
            }
        };
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes) as u32;
            let own = match key & 7 {
                0 => {
                    varint(&mut bytes);
                    0
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(own);
            out.push((key >> 3, value));
            bytes = rest;
        }
        out
    }

    pub(crate) fn all<'a>(bytes: &'a [u8], path: &[u32]) -> Vec<&'a [u8]> {
        let Some((tag, rest)) = path.split_first() else { return vec![bytes] };
        fields(bytes).into_iter().filter(|(own, _)| own == tag).flat_map(|(_, value)| all(value, rest)).collect()
    }

    pub(crate) fn texts(bytes: &[u8], path: &[u32]) -> Vec<String> {
        all(bytes, path).into_iter().map(|text| String::from_utf8(text.to_vec()).expect("a text")).collect()
    }

    /// The value of a pair with this name.
    pub(crate) fn of<'a>(bytes: &'a [u8], path: &[u32], name: &str) -> &'a [u8] {
        let pairs = all(bytes, path);
        let found = pairs.into_iter().find(|pair| all(pair, &[1]) == [name.as_bytes()]);
        all(found.unwrap_or_else(|| panic!("{name} is missing")), &[2])[0]
    }
}
