//! Decides what an update or an apply does to an object and to who manages its fields.

use std::collections::BTreeMap;

use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Value, object};
use api_schema::Schema;

use super::conflict::Conflict;
use super::managers::{Key, Managed, Managers, Operation};
use super::merge::Merge;
use super::place::Place;
use super::set::FieldSet;
use super::walk::{Comparison, Walk};

/// Fields that nobody manages: they are the system's.
const UNMANAGED: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata",
    "metadata.clusterName",
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.name",
    "metadata.namespace",
    "metadata.resourceVersion",
    "metadata.selfLink",
    "metadata.uid",
];
/// The apply manager that takes over from `kubectl apply` without being asked to.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Other versions of the object's kind.
pub trait Versions {
    /// `None` when the version does not exist (any more).
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    pub name: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
}

/// What one request needs to know to decide ownership.
pub struct Ownership<'a> {
    pub schema: &'a Schema,
    pub versions: &'a dyn Versions,
    /// Of the request: objects come and go in this version.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Fields that this request cannot change, so that nobody gets them by it.
    pub reset: &'a FieldSet,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
}

/// Why an apply cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Conflict(Conflict),
    /// The configuration says who manages, which is not its business.
    ManagedFields,
    /// The configuration cannot be merged: where and why.
    Invalid(String),
}

impl Failure {
    pub fn to_error(&self) -> ApiError {
        match self {
            Self::Conflict(conflict) => conflict.to_error(),
            Self::ManagedFields => ApiError::bad_request("metadata.managedFields must be nil".to_owned()),
            Self::Invalid(why) => ApiError::internal(format!("failed to create typed patch object: {why}")),
        }
    }
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    if object::meta(&object).is_some() {
        object::meta_mut(&mut object).remove("managedFields");
    }
    object
}

/// Applied objects have no empty left-overs of what was taken away.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl<'a> Ownership<'a> {
    fn place(&self, api_version: &str) -> Option<Place<'a>> {
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        let id = self.schema.type_of_kind(&GroupVersionKind { group, version, kind: self.kind.into() })?;
        Some(Place::of_type(self.schema.get(id)))
    }

    fn walk(&self) -> Walk<'a> {
        Walk { schema: self.schema }
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        if from == to { Some(object.clone()) } else { self.versions.convert(object, to) }
    }

    fn key(&self, manager: Manager<'_>, operation: Operation) -> Key {
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        Key {
            operation,
            name: manager.name.to_owned(),
            api_version: api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
        }
    }

    fn compare(&self, live: &Value, new: &Value, api_version: &str) -> Option<Comparison> {
        let live = self.convert(live, self.api_version, api_version)?;
        let new = self.convert(new, self.api_version, api_version)?;
        let found = self.walk().compare(self.place(api_version)?, &live, &new);
        Some(Comparison {
            added: found.added.without_trees(self.reset),
            modified: found.modified.without_trees(self.reset),
            removed: found.removed.without_trees(self.reset),
        })
    }

    /// Takes from everybody but `except` what the change touches. Answers the change in the request's version,
    /// or, unless forced, who stands in its way.
    fn take(
        &self,
        live: &Value,
        new: &Value,
        managers: &mut Managers,
        except: Option<&Key>,
        force: bool,
    ) -> Result<Comparison, Conflict> {
        let mut changes: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        changes.insert(self.api_version.to_owned(), self.compare(live, new, self.api_version));
        let mut owners = BTreeMap::new();
        managers.0.retain(|key, managed| {
            if Some(key) == except {
                return true;
            }
            let change = changes
                .entry(managed.api_version.clone())
                .or_insert_with(|| self.compare(live, new, &managed.api_version));
            let Some(change) = change else { return false };
            let wanted = managed.fields.intersection(&change.modified.union(&change.added));
            managed.fields = managed.fields.difference(&wanted).difference(&change.removed);
            if !wanted.is_empty() {
                owners.insert(key.clone(), wanted);
            }
            !managed.fields.is_empty()
        });
        if !force && !owners.is_empty() {
            return Err(Conflict { owners });
        }
        Ok(changes.remove(self.api_version).flatten().unwrap_or_default())
    }

    fn finish(&self, managers: &mut Managers, object: &mut Value) {
        let unmanaged = FieldSet::of_fields(UNMANAGED);
        for managed in managers.0.values_mut() {
            managed.fields = managed.fields.difference(&unmanaged);
        }
        managers.0.retain(|_, managed| !managed.fields.is_empty());
        managers.cap();
        managers.write(object);
    }

    /// After a create (`live` is the empty object), update or patch: `manager` owns what it changed in `new`.
    pub fn update(&self, live: &Value, new: &mut Value, manager: Manager<'_>) {
        let mut managers = Managers::before(live, new, manager.subresource);
        let (before, after) = (without_managers(live), without_managers(new));
        let Ok(change) = self.take(&before, &after, &mut managers, None, true) else { return };
        let taken = change.modified.union(&change.added).without_trees(self.reset);
        if !taken.is_empty() {
            let own = managers.0.entry(self.key(manager, Operation::Update)).or_insert_with(|| Managed {
                fields: FieldSet::default(),
                api_version: self.api_version.to_owned(),
                time: None,
            });
            own.fields = own.fields.union(&taken);
            own.time = Some(self.now.to_owned());
        }
        *new = after;
        self.finish(&mut managers, new);
    }

    /// Merges a configuration into `live` (the empty object when there is none yet). The result is not
    /// defaulted and not validated.
    pub fn apply(&self, live: &Value, config: &Value, manager: Manager<'_>, force: bool) -> Result<Value, Failure> {
        if object::meta(config).is_some_and(|meta| meta.contains_key("managedFields")) {
            return Err(Failure::ManagedFields);
        }
        match self.try_apply(live, config, manager, force) {
            Err(Failure::Conflict(conflict)) if manager.name == KUBECTL && self.was_applied(live, &conflict) => {
                self.try_apply(live, config, manager, true)
            }
            result => result,
        }
    }

    fn try_apply(&self, live: &Value, config: &Value, manager: Manager<'_>, force: bool) -> Result<Value, Failure> {
        let place = self.place(self.api_version).ok_or_else(|| Failure::Invalid("no such kind".to_owned()))?;
        let mut managers = Managers::of(live);
        let former = managers.clone();
        let live = without_managers(live);
        let merged = Merge { schema: self.schema }.merge(place, &live, config).map_err(Failure::Invalid)?;
        let key = self.key(manager, Operation::Apply);
        let stated = self.walk().fields(place, config).without_trees(self.reset);
        let managed = Managed {
            fields: stated,
            api_version: self.api_version.to_owned(),
            time: former.0.get(&key).and_then(|before| before.time.clone()),
        };
        let last = managers.0.insert(key.clone(), managed);
        let mut new = self.prune(merged, &managers, last.as_ref());
        drop_nulls(&mut new);
        self.take(&live, &new, &mut managers, Some(&key), force).map_err(Failure::Conflict)?;
        if (new != live || managers != former)
            && let Some(own) = managers.0.get_mut(&key)
        {
            own.time = Some(self.now.to_owned());
        }
        self.finish(&mut managers, &mut new);
        Ok(new)
    }

    /// Takes out what the manager stated last time, states no longer, and nobody else manages.
    fn prune(&self, merged: Value, managers: &Managers, last: Option<&Managed>) -> Value {
        let Some(last) = last.filter(|last| !last.fields.is_empty()) else { return merged };
        let version = last.api_version.as_str();
        let (Some(place), Some(merged_then)) = (self.place(version), self.convert(&merged, self.api_version, version))
        else {
            return merged;
        };
        let walk = self.walk();
        let last_fields = walk.with_named(place, &last.fields);
        let pruned = walk.without(place, &merged_then, &last_fields);
        let pruned = self.add_back_owned(&merged_then, pruned, version, managers);
        let pruned = self.add_back_dangling(place, &merged_then, &pruned, &last_fields);
        self.convert(&pruned, version, self.api_version).unwrap_or(merged)
    }

    /// With what anybody manages, in any version; the pruned version first.
    fn add_back_owned(&self, merged: &Value, mut pruned: Value, version: &str, managers: &Managers) -> Value {
        let mut by_version: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for managed in managers.0.values() {
            let all = by_version.entry(&managed.api_version).or_default();
            *all = all.union(&managed.fields);
        }
        let own = by_version.remove_entry(version);
        for (other, managed) in own.into_iter().chain(by_version) {
            let converted =
                (self.place(other), self.between(merged, version, other), self.between(&pruned, version, other));
            let (Some(place), Some(whole), Some(less)) = converted else { continue };
            let walk = self.walk();
            let named = |set: &FieldSet| walk.with_named(place, set);
            let kept = named(&walk.fields(place, &less)).union(&named(&managed));
            let gone = named(&walk.fields(place, &whole)).difference(&kept);
            if let Some(back) = self.between(&walk.without(place, &whole, &gone), other, version) {
                pruned = back;
            }
        }
        pruned
    }

    fn between(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        self.convert(object, from, to)
    }

    /// With what went and was not the manager's.
    fn add_back_dangling(&self, place: Place<'a>, merged: &Value, pruned: &Value, last: &FieldSet) -> Value {
        let walk = self.walk();
        let named = |value: &Value| walk.with_named(place, &walk.fields(place, value));
        let gone = named(merged).difference(&named(pruned)).intersection(last);
        walk.without(place, merged, &gone)
    }

    /// Whether all that conflicts is as `kubectl apply` left it: then the move to server-side apply may take it.
    fn was_applied(&self, live: &Value, conflict: &Conflict) -> bool {
        let Some(last) = object::annotation(live, LAST_APPLIED) else { return false };
        let Ok(last) = serde_json::from_str::<Value>(last) else { return false };
        let Some(place) = self.place(self.api_version) else { return false };
        if last.get("apiVersion").and_then(Value::as_str) != Some(self.api_version) {
            return false;
        }
        let walk = self.walk();
        let changed = walk.compare(place, &last, &without_managers(live));
        let allowed = walk.fields(place, &last).difference(&changed.modified).difference(&changed.removed);
        conflict.owners.values().all(|fields| fields.difference(&allowed).is_empty())
    }
}
