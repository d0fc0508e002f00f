//! One version of one object: its bytes, what is read of them at once, and what is made of them on demand.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use api_codec::protobuf::Encoded;
use api_codec::{stored, stored_version};
use api_machinery::{ObjectKey, Value};
use api_schema::Schema;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store_api::Revision;

use crate::index::Index;

/// Bytes of protobuf that all objects of this process keep for lists.
const KEPT_FOR_LISTS: usize = 64 << 20;

/// How many of them are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// One version of one object.
///
/// Its bytes are a few KiB; what is made of them is many times that. So what is made is kept only while the
/// version is the current one or a recent one that many watchers are about to send: see [`Object::seal`].
pub struct Object {
    pub key: ObjectKey,
    pub revision: Revision,
    /// Ready to send: JSON in the version it is worked with in, with `metadata.resourceVersion`.
    pub json: Bytes,
    index: OnceLock<Index>,
    forms: Mutex<Forms>,
}

/// What was made of the bytes and is kept.
enum Forms {
    Kept(Option<Box<Made>>),
    /// Nothing is kept any more.
    Sealed,
}

#[derive(Default)]
struct Made {
    value: Option<Arc<Value>>,
    protobuf: Option<Option<Encoded>>,
    /// Of those, the ones that count among all that is kept for lists.
    counted: Counted,
    /// By type; `None` where the bytes do not fit it.
    typed: Vec<(TypeId, Option<Arc<dyn Any + Send + Sync>>)>,
    /// Values of selectable fields.
    fields: Vec<(Box<str>, Arc<str>)>,
}

/// A part of [`KEPT_FOR_LISTS`], given back when it is dropped.
#[derive(Default)]
struct Counted(usize);

impl Counted {
    /// `None` when that many more are too many.
    fn take(bytes: usize) -> Option<Self> {
        let more = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= KEPT_FOR_LISTS);
        KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(bytes))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Object {
    pub fn new(key: ObjectKey, revision: Revision, json: Bytes) -> Self {
        let (index, forms) = (OnceLock::new(), Mutex::new(Forms::Kept(None)));
        Self { key, revision, json, index, forms }
    }

    /// The object from its stored bytes. `None` when they are not JSON of an object at all.
    pub fn from_stored(key: ObjectKey, revision: Revision, stored: &[u8]) -> Option<Self> {
        if !stored_version::is_early(stored) {
            return Self::from_served(key, revision, stored);
        }
        let mut value: Value = serde_json::from_slice(stored).ok()?;
        stored_version::from_stored(&mut value);
        Self::from_served(key, revision, &stored::encode(&value))
    }

    /// The same from bytes that are laid out as stored ones, in the version to be sent.
    pub fn from_served(key: ObjectKey, revision: Revision, stored: &[u8]) -> Option<Self> {
        let json = match stored::with_revision(stored, revision) {
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

    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::read(&self.json))
    }

    /// A value of `metadata.labels`.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.index().labels.get(key)
    }

    /// `spec.nodeName`, where it is set.
    pub fn node(&self) -> Option<&str> {
        self.index().node.as_deref()
    }

    /// Parsed for this caller, unless it is kept already. `null` when the bytes are not JSON, which the codec
    /// never writes.
    pub fn value(&self) -> Arc<Value> {
        let kept = match &*self.forms.lock() {
            Forms::Kept(Some(made)) => made.value.clone(),
            _ => None,
        };
        kept.unwrap_or_else(|| Arc::new(parse(&self.json)))
    }

    /// Parsed once and kept: for what this process looks up again and again.
    pub fn kept_value(&self) -> Arc<Value> {
        self.keep(|made| made.value.get_or_insert_with(|| Arc::new(parse(&self.json))).clone())
    }

    /// `metadata` alone.
    pub fn metadata(&self) -> Value {
        #[derive(Deserialize)]
        struct Described {
            #[serde(default)]
            metadata: Value,
        }
        serde_json::from_slice::<Described>(&self.json).map(|described| described.metadata).unwrap_or_default()
    }

    /// In protobuf, encoded once and kept: for watches, where one version goes to many. `None` for kinds that
    /// protobuf has no message for.
    pub fn protobuf(&self) -> Option<Encoded> {
        self.keep(|made| {
            let Made { value, protobuf, .. } = made;
            protobuf.get_or_insert_with(|| self.encode(value.as_deref())).clone()
        })
    }

    /// The same for one who asks for this object alone: not kept.
    pub fn protobuf_once(&self) -> Option<Encoded> {
        self.kept_protobuf().unwrap_or_else(|| self.encode(None))
    }

    /// The same for lists, which measure every item before they send the first: kept as long as all that is kept for
    /// them is not too much.
    pub fn protobuf_listed(&self) -> Option<Encoded> {
        if let Some(kept) = self.kept_protobuf() {
            return kept;
        }
        let encoded = self.encode(None)?;
        if let Some(counted) = Counted::take(encoded.envelope.len()) {
            self.keep(|made| {
                made.protobuf = Some(Some(encoded.clone()));
                made.counted = counted;
            });
        }
        Some(encoded)
    }

    fn kept_protobuf(&self) -> Option<Option<Encoded>> {
        match &*self.forms.lock() {
            Forms::Kept(Some(made)) => made.protobuf.clone(),
            _ => None,
        }
    }

    fn encode(&self, value: Option<&Value>) -> Option<Encoded> {
        match value {
            Some(value) => Encoded::new(Schema::builtin(), value),
            None => Encoded::from_json(Schema::builtin(), &self.json),
        }
    }

    /// Decoded once into a type, then shared. `None` when the bytes do not fit it.
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let decode = || serde_json::from_slice::<T>(&self.json).ok().map(|value| Arc::new(value) as Arc<_>);
        let any = self.keep(|made| match made.typed.iter().find(|(own, _)| *own == id) {
            Some((_, any)) => any.clone(),
            None => {
                let any: Option<Arc<dyn Any + Send + Sync>> = decode();
                made.typed.push((id, any.clone()));
                any
            }
        });
        any?.downcast().ok()
    }

    /// The value of a selectable field, read once.
    pub fn field(&self, name: &str, read: impl FnOnce(&Value) -> String) -> Arc<str> {
        self.keep(|made| match made.fields.iter().find(|(own, _)| **own == *name) {
            Some((_, value)) => value.clone(),
            None => {
                let value: Arc<str> = match &made.value {
                    Some(value) => read(value).into(),
                    None => read(&parse(&self.json)).into(),
                };
                made.fields.push((name.into(), value.clone()));
                value
            }
        })
    }

    /// Works on what is kept; on something that is thrown away once the object is sealed.
    fn keep<R>(&self, work: impl FnOnce(&mut Made) -> R) -> R {
        match &mut *self.forms.lock() {
            Forms::Kept(made) => return work(made.get_or_insert_default()),
            Forms::Sealed => {}
        }
        work(&mut Made::default())
    }

    /// Drops what was made of the bytes, and keeps nothing from now on: this version is history.
    pub(crate) fn seal(&self) {
        let made = std::mem::replace(&mut *self.forms.lock(), Forms::Sealed);
        drop(made);
    }

    /// Whether anything is held but the bytes and the index.
    #[cfg(test)]
    pub(crate) fn holds_forms(&self) -> bool {
        matches!(&*self.forms.lock(), Forms::Kept(Some(_)))
    }

    /// What this version takes of memory, without what is made on demand.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.namespace.len() + self.key.name.len() + self.json.len() + self.index().bytes()
    }
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

#[cfg(test)]
mod tests {
    use api_machinery::GroupResource;

    use super::*;

    fn pod() -> Object {
        let key = ObjectKey::new(GroupResource::new("", "pods"), "default", "p");
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"p"},"status":{"phase":"Running"}}"#;
        Object::new(key, 7, Bytes::from_static(json.as_bytes()))
    }

    fn phase(object: &Object) -> Arc<str> {
        object.field("status.phase", |value| value["status"]["phase"].as_str().unwrap_or("").to_owned())
    }

    #[test]
    fn only_what_is_asked_to_stay_stays() {
        let object = pod();
        object.value();
        object.protobuf_once();
        object.metadata();
        assert!(!object.holds_forms(), "one reader's forms are not kept");
        let kept = KEPT.load(Ordering::Relaxed);
        let encoded = object.protobuf_listed().expect("protobuf has pods");
        assert!(object.holds_forms(), "a list's are");
        assert_eq!(KEPT.load(Ordering::Relaxed), kept + encoded.envelope.len());
        let (value, typed) = (object.kept_value(), object.typed::<Value>().expect("fits"));
        assert!(Arc::ptr_eq(&value, &object.value()) && Arc::ptr_eq(&typed, &object.typed().expect("fits")));
        assert_eq!(object.typed::<u64>(), None);
        assert_eq!((&*phase(&object), phase(&object)), ("Running", phase(&object)));
        assert_eq!((object.protobuf(), object.protobuf_listed()), (object.protobuf_once(), object.protobuf_once()));
        object.seal();
        assert!(!object.holds_forms());
        assert_eq!(KEPT.load(Ordering::Relaxed), kept);
        assert!(Counted::take(KEPT_FOR_LISTS + 1).is_none());
        assert_eq!((&*object.kept_value(), &*phase(&object)), (&*value, "Running"));
        assert!(object.typed::<Value>().is_some() && object.protobuf().is_some() && !object.holds_forms());
        assert_eq!(object.metadata()["name"], "p");
    }
}
