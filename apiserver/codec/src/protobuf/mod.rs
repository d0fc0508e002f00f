//! Kubernetes' protobuf encoding, over the same schema as JSON: decoding gives the value that the JSON of the same
//! object would, so that everything after it (conforming, defaulting, validation) is the same.
//!
//! On the wire an object is the four bytes `k8s\0` and a `runtime.Unknown` message, the *envelope*: the object's
//! apiVersion and kind (tag 1), its message (tag 2), and two strings that are empty (tags 3 and 4).

mod decode;
mod encode;
mod scalar;
mod wire;

use api_machinery::object::str_at;
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Field, Schema, Type, TypeId};

pub use decode::decode;

use encode::Encoder;
use wire::{Backwards, push_key, push_varint};

/// What requests and answers in this encoding are marked with.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Every envelope begins with it.
pub const MAGIC: [u8; 4] = *b"k8s\0";
/// Empty contentEncoding and contentType: how every envelope ends.
pub const TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// Whether a field is written in its type's own message. TypeMeta is not: it is in the envelope.
fn on_wire(one: &Type, field: &Field) -> bool {
    let headless = || one.inlined.iter().any(|(_, tag)| *tag == 0);
    field.tag != 0 && !(matches!(field.json.as_str(), "kind" | "apiVersion") && field.nesting.is_empty() && headless())
}

/// A list of strings that Go has as a named type, and protobuf as a message of its own.
fn is_wrapped_list(field: &Field) -> bool {
    field.go_type == "[]v1.Verbs"
}

fn gvk_of(value: &Value) -> GroupVersionKind {
    let gv = GroupVersion::parse(str_at(value, "apiVersion"));
    GroupVersionKind { group: gv.group, version: gv.version, kind: str_at(value, "kind").into() }
}

/// The type of an object that protobuf has a message for.
fn type_of(schema: &Schema, value: &Value) -> Option<TypeId> {
    schema.type_of_kind(&gvk_of(value)).filter(|id| !schema.get(*id).proto.is_empty())
}

/// A whole object in its envelope. `None` when protobuf has no message for its kind, or it does not fit its type.
pub fn encode(schema: &Schema, value: &Value) -> Option<Vec<u8>> {
    let raw = message(schema, value)?;
    Some(envelope(str_at(value, "apiVersion"), str_at(value, "kind"), &raw))
}

/// [`encode`] without the envelope.
pub fn message(schema: &Schema, value: &Value) -> Option<Vec<u8>> {
    message_of(schema, type_of(schema, value)?, value)
}

/// The message of a value of a known type: what lists and other messages hold.
pub fn message_of(schema: &Schema, type_id: TypeId, value: &Value) -> Option<Vec<u8>> {
    let mut encoder = Encoder { schema, out: Backwards::default() };
    encoder.message(schema.get(type_id), value.as_object()?)?;
    Some(encoder.out.finish())
}

/// An envelope up to its message, which is to follow with exactly `length` bytes, and then [`TAIL`].
pub fn envelope_head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    push_field(&mut meta, 1, api_version.as_bytes());
    push_field(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(meta.len() + 24);
    out.extend_from_slice(&MAGIC);
    push_field(&mut out, 1, &meta);
    push_head(&mut out, 2, length);
    out
}

/// A message in its envelope.
pub fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope_head(api_version, kind, raw.len());
    out.reserve(raw.len() + TAIL.len());
    out.extend_from_slice(raw);
    out.extend_from_slice(&TAIL);
    out
}

/// Appends the tag and length of a message, text or bytes that are to follow.
pub fn push_head(out: &mut Vec<u8>, tag: u32, length: usize) {
    push_key(out, tag, wire::DELIMITED);
    push_varint(out, length as u64);
}

fn push_field(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    push_head(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// One event of a watch: `event` (`ADDED`, ...) and an object in its envelope. The event itself is in no envelope, and
/// framed by its length in four bytes, big end first.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    // WatchEvent { type = 1, object = 2: RawExtension { raw = 1 } }
    let mut extension = Vec::with_capacity(object.len() + 8);
    push_field(&mut extension, 1, object);
    let mut out = Vec::with_capacity(extension.len() + event.len() + 16);
    out.extend_from_slice(&[0; 4]);
    push_field(&mut out, 1, event.as_bytes());
    push_field(&mut out, 2, &extension);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}
