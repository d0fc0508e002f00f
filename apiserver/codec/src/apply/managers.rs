//! `metadata.managedFields`: who manages what, as it is kept.

use std::collections::BTreeMap;

use api_machinery::{Value, object};
use serde_json::{Map, json};

use super::fields::Fields;
use super::set::FieldSet;

/// Managers that only update, at most; the oldest are put together beyond that. As upstream.
pub const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager that stands for the oldest ones, put together.
const ANCIENT: &str = "ancient-changes";
/// The only encoding of field sets there is.
const FIELDS_TYPE: &str = "FieldsV1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// Who manages: for updates each version apart, for applies all versions together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) operation: Operation,
    pub(crate) name: String,
    /// Empty for applies.
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Managed {
    pub(crate) fields: Fields,
    /// What `fields` speaks of.
    pub(crate) api_version: String,
    /// RFC 3339, whole seconds.
    pub(crate) time: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Managers(pub(crate) BTreeMap<Key, Managed>);

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> &'a str {
    entry.get(name).and_then(Value::as_str).unwrap_or("")
}

/// An entry, with its fields unread; why it is none.
fn read_entry(entry: &Value) -> Result<(Key, Managed), String> {
    let entry = entry.as_object().ok_or("an entry is not a map")?;
    let operation = match text(entry, "operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let api_version = text(entry, "apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text(entry, "fieldsType") {
        FIELDS_TYPE => {}
        "" => return Err("missing fieldsType".to_owned()),
        other => return Err(format!("invalid fieldsType {other:?}")),
    }
    let managed = Managed {
        fields: Fields::Written(entry.get("fieldsV1").cloned().unwrap_or_else(|| json!({}))),
        api_version: api_version.to_owned(),
        time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
    };
    let key = Key {
        operation,
        name: text(entry, "manager").to_owned(),
        api_version: if operation == Operation::Apply { String::new() } else { api_version.to_owned() },
        subresource: text(entry, "subresource").to_owned(),
    };
    Ok((key, managed))
}

/// The same, with its fields read.
fn decode_entry(entry: &Value) -> Result<(Key, Managed), String> {
    let (key, mut managed) = read_entry(entry)?;
    let Fields::Written(written) = &managed.fields else { return Ok((key, managed)) };
    managed.fields = FieldSet::decode(written).ok_or("fieldsV1 is not a set of fields")?.into();
    Ok((key, managed))
}

fn encode_entry(key: &Key, managed: &Managed) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            entry.insert(name.to_owned(), value.into());
        }
    };
    put("manager", &key.name);
    put("operation", if key.operation == Operation::Apply { "Apply" } else { "Update" });
    put("apiVersion", &managed.api_version);
    put("time", managed.time.as_deref().unwrap_or(""));
    put("fieldsType", FIELDS_TYPE);
    put("subresource", &key.subresource);
    entry.insert("fieldsV1".to_owned(), managed.fields.encode());
    Value::Object(entry)
}

/// `metadata.managedFields`; no entries where it is absent.
pub(crate) fn list(object: &Value) -> &[Value] {
    sent(object).map_or(&[], Vec::as_slice)
}

fn sent(object: &Value) -> Option<&Vec<Value>> {
    object::meta(object)?.get("managedFields")?.as_array()
}

/// Whether a client asks to forget all managers: an empty list, or one empty entry.
fn resets(list: &[Value]) -> bool {
    match list {
        [] => true,
        [one] => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

impl Managers {
    /// Of a stored object; none when what is there cannot be read.
    pub(crate) fn of(object: &Value) -> Self {
        Self::read(list(object), read_entry).unwrap_or_default()
    }

    fn read(list: &[Value], entry: fn(&Value) -> Result<(Key, Managed), String>) -> Option<Self> {
        list.iter().map(|one| entry(one).ok()).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    /// Before an update: those the client sent, when they make sense; those of the live object otherwise, so
    /// that a client that knows nothing of managers does not take them away. A subresource cannot change them.
    pub(crate) fn before(live: &Value, new: &Value, subresource: &str) -> Self {
        let Some(sent) = sent(new).filter(|_| subresource.is_empty()) else { return Self::of(live) };
        match sent.as_slice() {
            sent if sent == list(live) => Self::of(live),
            sent if resets(sent) => Self::default(),
            sent => Self::read(sent, decode_entry).unwrap_or_else(|| Self::of(live)),
        }
    }

    /// Puts the oldest updaters of one version together while there are too many.
    pub(crate) fn cap(&mut self) {
        let mut updaters: Vec<Key> = self.0.keys().filter(|key| key.operation == Operation::Update).cloned().collect();
        if updaters.len() <= MAX_UPDATE_MANAGERS {
            return;
        }
        let time = |key: &Key| self.0.get(key).and_then(|managed| managed.time.clone());
        updaters.sort_by_cached_key(|key| (time(key), key.clone()));
        let mut surplus = updaters.len() - MAX_UPDATE_MANAGERS;
        for key in updaters {
            if surplus == 0 {
                return;
            }
            let ancient = Key { name: ANCIENT.to_owned(), subresource: String::new(), ..key.clone() };
            if key == ancient {
                continue;
            }
            let Some(managed) = self.0.remove(&key) else { continue };
            match self.0.get_mut(&ancient) {
                Some(kept) => {
                    kept.fields.add(managed.fields.set());
                    kept.time = managed.time;
                    surplus -= 1;
                }
                // The first only gets the other name.
                None => drop(self.0.insert(ancient, managed)),
            }
        }
    }

    /// As a list, in upstream's order.
    pub(crate) fn encode(&self) -> Vec<Value> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(key, managed)| {
            (key.operation, managed.time.as_deref(), &key.name, &managed.api_version, &key.subresource)
        });
        entries.into_iter().map(|(key, managed)| encode_entry(key, managed)).collect()
    }

    /// Writes them into an object.
    pub(crate) fn write(&self, object: &mut Value) {
        let meta = object::meta_mut(object);
        if self.0.is_empty() {
            meta.remove("managedFields");
        } else {
            meta.insert("managedFields".to_owned(), self.encode().into());
        }
    }
}
