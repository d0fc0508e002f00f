//! One version of one object: its bytes, and what is made of them on demand.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api_codec::protobuf::Encoded;
use api_machinery::{ObjectKey, Value};
use api_schema::Schema;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store_api::Revision;

/// One version of one object.
pub struct Object {
    pub key: ObjectKey,
    pub revision: Revision,
    /// Ready to send: JSON in the stored version, with `metadata.resourceVersion`.
    pub json: Bytes,
    labels: OnceLock<BTreeMap<String, String>>,
    value: OnceLock<Arc<Value>>,
    protobuf: OnceLock<Option<Encoded>>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    pub fn new(key: ObjectKey, revision: Revision, json: Bytes) -> Self {
        let (labels, value, protobuf, typed) = (OnceLock::new(), OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { key, revision, json, labels, value, protobuf, typed }
    }

    /// The object from its stored bytes. `None` when they are not JSON of an object at all.
    pub fn from_stored(key: ObjectKey, revision: Revision, stored: &[u8]) -> Option<Self> {
        let json = match api_codec::stored::with_revision(stored, revision) {
            Some(json) => json,
            None => reencode(stored, revision)?,
        };
        Some(Self::new(key, revision, json))
    }

    /// The same content with another `resourceVersion`: what a selector's `DELETED` event carries when an
    /// object leaves it.
    pub fn at_revision(&self, revision: Revision) -> Self {
        let json = splice(&self.json, self.revision, revision)
            .or_else(|| reencode(&self.json, revision))
            .unwrap_or_else(|| self.json.clone());
        Self::new(self.key.clone(), revision, json)
    }

    /// `metadata.labels`, read without parsing the rest: selectors are asked of every object, and most
    /// objects are never looked at otherwise.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        self.labels.get_or_init(|| read_labels(&self.json))
    }

    /// Parsed once, then shared. `null` when the bytes are not JSON, which the codec never writes.
    pub fn value(&self) -> Arc<Value> {
        self.value.get_or_init(|| Arc::new(parse(&self.json))).clone()
    }

    /// In protobuf, encoded once, then shared. `None` for kinds that protobuf has no message for.
    pub fn protobuf(&self) -> Option<&Encoded> {
        let encode = |value: &Value| Encoded::new(Schema::builtin(), value);
        // Not through `value()`: most objects are not looked at otherwise, and values are large.
        let made = self.protobuf.get_or_init(|| match self.value.get() {
            Some(value) => encode(value),
            None => encode(&parse(&self.json)),
        });
        made.as_ref()
    }

    /// Decoded once into its `k8s-openapi` type, then shared. `None` when the bytes do not fit the type
    /// (or another type was asked for first).
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let any = self.typed.get_or_init(|| match serde_json::from_slice::<T>(&self.json) {
            Ok(value) => Arc::new(value),
            Err(error) => Arc::new(error.to_string()),
        });
        any.clone().downcast().ok()
    }
}

fn read_labels(json: &[u8]) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Labelled {
        metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        labels: Option<BTreeMap<String, String>>,
    }
    let read: Labelled = serde_json::from_slice(json).unwrap_or(Labelled { metadata: None });
    read.metadata.and_then(|metadata| metadata.labels).unwrap_or_default()
}

fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        tracing::error!(%error, "a cached object is not JSON");
        Value::Null
    })
}

/// Replaces the revision where the codec put it: as the first field of `metadata`, which comes before
/// anything a client may choose.
fn splice(json: &Bytes, old: Revision, new: Revision) -> Option<Bytes> {
    let mark = format!("\"metadata\":{{\"resourceVersion\":\"{old}\"");
    let at = memchr::memmem::find(json, mark.as_bytes())?;
    let mut out = Vec::with_capacity(json.len() + 8);
    out.extend_from_slice(&json[..at]);
    out.extend_from_slice(format!("\"metadata\":{{\"resourceVersion\":\"{new}\"").as_bytes());
    out.extend_from_slice(&json[at + mark.len()..]);
    Some(out.into())
}

/// The slow way, for bytes that another program wrote.
fn reencode(json: &[u8], revision: Revision) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    let meta = value.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
    meta.as_object_mut()?.insert("resourceVersion".to_owned(), revision.to_string().into());
    serde_json::to_vec(&value).ok().map(Bytes::from)
}
