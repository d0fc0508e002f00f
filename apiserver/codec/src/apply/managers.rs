//! `metadata.managedFields`: who manages what, as it is kept.

use std::collections::BTreeMap;

use api_machinery::{Value, object};
use serde_json::{Map, json};

use super::set::FieldSet;

/// Managers that only update, at most; the oldest are put together beyond that. As upstream.
pub const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager that stands for the oldest ones, put together.
const ANCIENT: &str = "ancient-changes";

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Managed {
    pub(crate) fields: FieldSet,
    /// What `fields` speaks of.
    pub(crate) api_version: String,
    /// RFC 3339, whole seconds.
    pub(crate) time: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managers(pub(crate) BTreeMap<Key, Managed>);

fn text(entry: &Map<String, Value>, name: &str) -> String {
    entry.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
}

fn decode_entry(entry: &Value) -> Option<(Key, Managed)> {
    let entry = entry.as_object()?;
    let operation = match entry.get("operation")?.as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let api_version = text(entry, "apiVersion");
    let managed = Managed {
        fields: entry.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::decode)?,
        api_version: api_version.clone(),
        time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
    };
    let api_version = if operation == Operation::Apply { String::new() } else { api_version };
    Some((
        Key { operation, name: text(entry, "manager"), api_version, subresource: text(entry, "subresource") },
        managed,
    ))
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
    put("fieldsType", "FieldsV1");
    put("subresource", &key.subresource);
    entry.insert("fieldsV1".to_owned(), managed.fields.encode());
    Value::Object(entry)
}

fn list(object: &Value) -> Option<&Vec<Value>> {
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
    /// Of an object; none when what is there cannot be read.
    pub(crate) fn of(object: &Value) -> Self {
        Self::read(list(object).map_or(&[], Vec::as_slice)).unwrap_or_default()
    }

    fn read(list: &[Value]) -> Option<Self> {
        list.iter().map(decode_entry).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    /// Before an update: those the client sent, when they make sense; those of the live object otherwise, so
    /// that a client that knows nothing of managers does not take them away. A subresource cannot change them.
    pub(crate) fn before(live: &Value, new: &Value, subresource: &str) -> Self {
        match list(new).filter(|_| subresource.is_empty()) {
            Some(sent) if resets(sent) => Self::default(),
            Some(sent) => Self::read(sent).filter(|sent| !sent.0.is_empty()).unwrap_or_else(|| Self::of(live)),
            None => Self::of(live),
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
                    kept.fields = kept.fields.union(&managed.fields);
                    kept.time = managed.time;
                    surplus -= 1;
                }
                // The first only gets the other name.
                None => drop(self.0.insert(ancient, managed)),
            }
        }
    }

    /// Writes them into an object, in upstream's order.
    pub(crate) fn write(&self, object: &mut Value) {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(key, managed)| {
            (key.operation, managed.time.as_deref(), &key.name, &managed.api_version, &key.subresource)
        });
        let entries: Vec<Value> = entries.into_iter().map(|(key, managed)| encode_entry(key, managed)).collect();
        let meta = object::meta_mut(object);
        if entries.is_empty() {
            meta.remove("managedFields");
        } else {
            meta.insert("managedFields".to_owned(), json!(entries));
        }
    }
}
