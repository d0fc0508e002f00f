//! Kubernetes' protobuf encoding, over the same schema as JSON: decoding gives the value that the JSON of the same
//! object would, so that everything after it (conforming, defaulting, validation) is the same.
//!
//! On the wire an object is the four bytes `k8s\0` and a `runtime.Unknown` message, the *envelope*: the object's
//! apiVersion and kind (tag 1), its message (tag 2), and two strings that are empty (tags 3 and 4).

mod decode;
mod encode;
mod scalar;
mod tree;
mod wire;

use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Field, Schema, Type, TypeId};
use bytes::Bytes;

pub use decode::decode;
pub(crate) use decode::read;

use encode::Encoder;
use tree::Tree;
use wire::{Backwards, push_key, push_varint};

/// What requests and answers in this encoding are marked with.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Every envelope begins with it.
pub const MAGIC: [u8; 4] = *b"k8s\0";
/// Empty contentEncoding and contentType: how every envelope ends.
pub const TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// Answers of discovery that may say no version, as before there was any.
const UNVERSIONED: [&str; 2] = ["APIVersions", "APIResourceList"];

/// Whether a field is written in its type's own message. TypeMeta is not: it is in the envelope.
fn on_wire(one: &Type, field: &Field) -> bool {
    let headless = || one.inlined.iter().any(|(_, tag)| *tag == 0);
    field.tag != 0 && !(matches!(field.json.as_str(), "kind" | "apiVersion") && field.nesting.is_empty() && headless())
}

/// A list of strings that Go has as a named type, and protobuf as a message of its own.
fn is_wrapped_list(field: &Field) -> bool {
    field.go_type == "[]v1.Verbs"
}

fn gvk_of(api_version: &str, kind: &str) -> GroupVersionKind {
    let gv = GroupVersion::parse(api_version);
    GroupVersionKind { group: gv.group, version: gv.version, kind: kind.into() }
}

/// The type of a kind that protobuf has a message for.
fn type_of(schema: &Schema, gvk: &GroupVersionKind) -> Option<TypeId> {
    let found = match &*gvk.group {
        // What servers wrap around objects is the same in all its versions.
        "meta.k8s.io" => schema.type_named(&format!("meta.v1.{}", gvk.kind)),
        _ => schema.type_of_kind(gvk),
    };
    found.filter(|id| !schema.get(*id).proto.is_empty())
}

/// An object in its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    pub envelope: Bytes,
    /// Where the field begins that is the message, and which lists have under the same number.
    field: usize,
}

impl Encoded {
    /// `None` when protobuf has no message for the object's kind, or it does not fit its type.
    pub fn new(schema: &Schema, object: &Value) -> Option<Self> {
        Self::of(schema, &object.into(), 0)
    }

    /// The same from the object's JSON, in which no key is twice. `None` also when it is no JSON.
    pub fn from_json(schema: &Schema, json: &[u8]) -> Option<Self> {
        Self::of(schema, &serde_json::from_slice(json).ok()?, json.len())
    }

    /// `room`: about how many bytes it will be.
    fn of(schema: &Schema, object: &Tree<'_>, room: usize) -> Option<Self> {
        let text = |name| object.field(name).and_then(Tree::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let version = if UNVERSIONED.contains(&kind) { "v1" } else { api_version };
        let raw = message(schema, type_of(schema, &gvk_of(version, kind))?, object, room)?;
        let raw = raw.written();
        let mut out = envelope_head(api_version, kind);
        let field = out.len();
        push_head(&mut out, RAW, raw.len());
        out.reserve_exact(raw.len() + TAIL.len());
        out.extend_from_slice(raw);
        out.extend_from_slice(&TAIL);
        Some(Self { envelope: out.into(), field })
    }

    /// What lists hold: the message with its tag and length.
    pub fn item(&self) -> Bytes {
        self.envelope.slice(self.field..self.envelope.len() - TAIL.len())
    }
}

/// The envelope of [`Encoded::new`].
pub fn encode(schema: &Schema, object: &Value) -> Option<Bytes> {
    Encoded::new(schema, object).map(|encoded| encoded.envelope)
}

/// The message of a value of a known type: what lists and other messages hold.
pub fn message_of(schema: &Schema, type_id: TypeId, value: &Value) -> Option<Vec<u8>> {
    message(schema, type_id, &value.into(), 0).map(|message| message.written().to_vec())
}

fn message(schema: &Schema, type_id: TypeId, value: &Tree<'_>, room: usize) -> Option<Backwards> {
    let mut encoder = Encoder { schema, out: Backwards::with_room(room) };
    encoder.message(schema.get(type_id), value)?;
    Some(encoder.out)
}

/// The number of the message in its envelope. Items have the same in every list.
const RAW: u32 = 2;

/// An envelope up to its message, which is to follow as field [`RAW`], and then [`TAIL`].
fn envelope_head(api_version: &str, kind: &str) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    push_field(&mut meta, 1, api_version.as_bytes());
    push_field(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(meta.len() + 24);
    out.extend_from_slice(&MAGIC);
    push_field(&mut out, 1, &meta);
    out
}

/// What a list of a kind begins with: all but its items ([`Encoded::item`]), which are to follow with exactly
/// `items_length` bytes, and then [`TAIL`]. `metadata` is the `ListMeta`.
pub fn list_head(
    schema: &Schema,
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items_length: usize,
) -> Option<Vec<u8>> {
    let metadata = message_of(schema, schema.type_named("meta.v1.ListMeta")?, metadata)?;
    let mut field = Vec::with_capacity(metadata.len() + 8);
    push_field(&mut field, 1, &metadata);
    let mut out = envelope_head(api_version, kind);
    push_head(&mut out, RAW, field.len() + items_length);
    out.extend_from_slice(&field);
    Some(out)
}

/// Appends the tag and length of a message, text or bytes that are to follow.
fn push_head(out: &mut Vec<u8>, tag: u32, length: usize) {
    push_key(out, tag, wire::DELIMITED);
    push_varint(out, length as u64);
}

fn push_field(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    push_head(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// What goes before an object of so many bytes in its envelope, as one event of a watch: `event` is `ADDED`, .... The
/// event itself is in no envelope, and framed by its length in four bytes, big end first.
pub fn watch_head(event: &str, object: usize) -> Vec<u8> {
    // WatchEvent { type = 1, object = 2: RawExtension { raw = 1 } }
    let mut raw = Vec::with_capacity(8);
    push_head(&mut raw, 1, object);
    let mut out = vec![0; 4];
    push_field(&mut out, 1, event.as_bytes());
    push_head(&mut out, 2, raw.len() + object);
    out.extend_from_slice(&raw);
    let length = (out.len() - 4 + object) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}
