//! Decides what an update or an apply does to an object and to who manages its fields.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Reason, Value, object};
use api_schema::{Schema, TypeId};

use super::check::{self, Check};
use super::conflict::Conflict;
use super::last_applied;
use super::managers::{Key, Managed, Managers, Operation};
use super::merge::Merge;
use super::place::Place;
use super::set::FieldSet;
use super::walk::{Comparison, Walk};
use super::zero;

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
/// Who does not say who it is.
const UNKNOWN: &str = "unknown";
/// Who set all that was there, unmanaged, before the first apply.
const BEFORE_FIRST: &str = "before-first-apply";

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
    /// The configuration is of another kind or version, or says who manages, which is not its business.
    Refused(String),
    /// The configuration cannot be merged: where and why.
    Invalid(String),
}

impl Failure {
    /// 409, 400, and, as upstream, a 500 without a reason.
    pub fn to_error(&self) -> ApiError {
        match self {
            Self::Conflict(conflict) => conflict.to_error(),
            Self::Refused(why) => ApiError::bad_request(why.as_str()),
            Self::Invalid(why) => ApiError::new(500, Reason::Unknown, why.as_str()),
        }
    }
}

/// `apps/v1, Kind=Deployment`, as Go prints the kind that an object says to be.
fn kind_text(object: &Value) -> String {
    let gv = GroupVersion::parse(object::str_at(object, "apiVersion"));
    format!("{}/{}, Kind={}", gv.group, gv.version, object::str_at(object, "kind"))
}

/// Without the fields that nobody manages.
fn managed_only(fields: FieldSet) -> FieldSet {
    static ALL: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(UNMANAGED));
    fields.difference(&ALL)
}

/// An owner whose value was changed, with the fields.
type Losers = BTreeMap<Key, FieldSet>;

impl<'a> Ownership<'a> {
    fn type_id(&self, api_version: &str) -> Option<TypeId> {
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        self.schema.type_of_kind(&GroupVersionKind { group, version, kind: self.kind.into() })
    }

    pub(crate) fn place(&self, api_version: &str) -> Option<Place<'a>> {
        self.type_id(api_version).map(|id| Place::of_type(self.schema.get(id)))
    }

    pub(crate) fn walk(&self) -> Walk<'a> {
        Walk { schema: self.schema }
    }

    fn zero(&self) -> Value {
        zero::object(self.schema, self.type_id(self.api_version), self.api_version, self.kind)
    }

    pub(crate) fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        if from == to { Some(object.clone()) } else { self.versions.convert(object, to) }
    }

    fn key(&self, manager: Manager<'_>, operation: Operation) -> Key {
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        Key {
            operation,
            name: if manager.name.is_empty() { UNKNOWN } else { manager.name }.to_owned(),
            api_version: api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
        }
    }

    /// `None` for a version that there is not.
    fn compare(&self, live: &Value, new: &Value, api_version: &str) -> Option<Comparison> {
        let place = self.place(api_version)?;
        let found = if api_version == self.api_version {
            self.walk().compare(place, live, new)
        } else {
            let (live, new) = (self.versions.convert(live, api_version)?, self.versions.convert(new, api_version)?);
            self.walk().compare(place, &live, &new)
        };
        if self.reset.is_empty() {
            return Some(found);
        }
        Some(Comparison {
            touched: found.touched.without_trees(self.reset),
            removed: found.removed.without_trees(self.reset),
        })
    }

    /// Takes from everybody but `except` what the change touches. Answers the change in the request's version and
    /// who lost what by a new value.
    fn take(&self, live: &Value, new: &Value, managers: &mut Managers, except: Option<&Key>) -> (Comparison, Losers) {
        let mut changes: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        changes.insert(self.api_version.to_owned(), self.compare(live, new, self.api_version));
        let mut losers = Losers::new();
        managers.0.retain(|key, managed| {
            if Some(key) == except {
                return true;
            }
            if !changes.contains_key(&managed.api_version) {
                let change = self.compare(live, new, &managed.api_version);
                changes.insert(managed.api_version.clone(), change);
            }
            let Some(Some(change)) = changes.get(&managed.api_version) else { return false };
            let lost = managed.fields.take(&change.touched);
            managed.fields.take(&change.removed);
            if !lost.is_empty() {
                losers.insert(key.clone(), lost);
            }
            !managed.fields.is_empty()
        });
        (changes.remove(self.api_version).flatten().unwrap_or_default(), losers)
    }

    /// After an update or patch of `live`, or a create (`None`): `manager` owns what it changed in `new`.
    pub fn update(&self, live: Option<&Value>, new: &mut Value, manager: Manager<'_>) {
        let zero = if live.is_none() { self.zero() } else { Value::Null };
        let before = live.unwrap_or(&zero);
        let mut managers = Managers::before(before, new, manager.subresource);
        object::meta_mut(new).remove("managedFields");
        // An object that nobody manages is left alone until somebody applies to it.
        if managers.0.is_empty() && live.is_some_and(|live| !object::uid(live).is_empty()) {
            return;
        }
        let (change, _) = self.take(before, new, &mut managers, None);
        self.own(&mut managers, manager, change.touched);
        managers.cap();
        managers.write(new);
    }

    fn own(&self, managers: &mut Managers, manager: Manager<'_>, fields: FieldSet) {
        let fields = managed_only(fields);
        if fields.is_empty() {
            return;
        }
        let own = managers.0.entry(self.key(manager, Operation::Update)).or_insert_with(|| Managed {
            fields: FieldSet::default().into(),
            api_version: self.api_version.to_owned(),
            time: None,
        });
        own.fields.add(fields);
        own.time = Some(self.now.to_owned());
    }

    /// Merges a configuration into `live`, `None` where there is nothing yet. The result is not defaulted and
    /// not validated.
    pub fn apply(
        &self,
        live: Option<&Value>,
        config: &Value,
        manager: Manager<'_>,
        force: bool,
    ) -> Result<Value, Failure> {
        self.check(config)?;
        let mut live = live.cloned().unwrap_or_else(|| self.zero());
        let managers = self.managers_before_apply(&live, manager.subresource);
        object::meta_mut(&mut live).remove("managedFields");
        let applied = match self.merge(&live, config, &managers, manager, force) {
            Err(Failure::Conflict(conflict)) if manager.name == KUBECTL => {
                let left = self.besides_last_applied(&live, conflict);
                match left {
                    Some(conflict) => Err(Failure::Conflict(conflict)),
                    None => self.merge(&live, config, &managers, manager, true),
                }
            }
            result => result,
        };
        let mut object = applied?;
        if manager.name == KUBECTL {
            last_applied::renew(&mut object, config);
        }
        Ok(object)
    }

    fn check(&self, config: &Value) -> Result<(), Failure> {
        let (version, kind) = (object::str_at(config, "apiVersion"), object::str_at(config, "kind"));
        if version != self.api_version || kind != self.kind {
            return Err(Failure::Refused(format!("invalid object type: {}", kind_text(config))));
        }
        if object::meta(config).and_then(|meta| meta.get("managedFields")).is_some_and(|list| !list.is_null()) {
            return Err(Failure::Refused("metadata.managedFields must be nil".to_owned()));
        }
        let place = self.place(self.api_version).ok_or_else(|| self.invalid(config, "no such kind"))?;
        let found = Check { schema: self.schema }.findings(place, config);
        if found.is_empty() { Ok(()) } else { Err(self.invalid(config, &check::message(&found))) }
    }

    fn invalid(&self, config: &Value, why: &str) -> Failure {
        let (namespace, name) = (object::namespace(config), object::name(config));
        let kind = kind_text(config);
        Failure::Invalid(format!("failed to create typed patch object ({namespace}/{name}; {kind}): {why}"))
    }

    /// What there is without a manager belongs, from the first apply on, to one that stands for all before it: through
    /// the same part of the object as the apply, as upstream.
    fn managers_before_apply(&self, live: &Value, subresource: &str) -> Managers {
        let mut managers = Managers::of(live);
        if managers.0.is_empty()
            && let Some(change) = self.compare(&self.zero(), live, self.api_version)
        {
            self.own(&mut managers, Manager { name: BEFORE_FIRST, subresource }, change.touched);
        }
        managers
    }

    fn merge(
        &self,
        live: &Value,
        config: &Value,
        former: &Managers,
        manager: Manager<'_>,
        force: bool,
    ) -> Result<Value, Failure> {
        let place = self.place(self.api_version).ok_or_else(|| self.invalid(config, "no such kind"))?;
        let merged = Merge { schema: self.schema }.merge(place, live, config);
        let merged = merged.map_err(|why| Failure::Invalid(format!("failed to merge config: {why}")))?;
        let (key, mut managers) = (self.key(manager, Operation::Apply), former.clone());
        let stated = self.walk().fields(place, config).without_trees(self.reset);
        let time = former.0.get(&key).and_then(|before| before.time.clone());
        let managed = Managed { fields: stated.clone().into(), api_version: self.api_version.to_owned(), time };
        let last = managers.0.insert(key.clone(), managed);
        let mut new = self.prune(merged, &managers, last.as_ref());
        let (_, owners) = self.take(live, &new, &mut managers, Some(&key));
        if !force && !owners.is_empty() {
            return Err(Failure::Conflict(Conflict { owners }));
        }
        if let Some(own) = managers.0.get_mut(&key) {
            own.fields = managed_only(stated).into();
        }
        if (new != *live || managers != *former)
            && let Some(own) = managers.0.get_mut(&key)
        {
            own.time = Some(self.now.to_owned());
        }
        managers.0.retain(|_, managed| !managed.fields.is_empty());
        managers.write(&mut new);
        Ok(new)
    }

    /// A conflict without the fields that are as `kubectl apply` left them: the move to server-side apply may
    /// take those. `None` when nothing is left of it.
    fn besides_last_applied(&self, live: &Value, conflict: Conflict) -> Option<Conflict> {
        let Some(left) = self.left_as_applied(live) else { return Some(conflict) };
        let rest = conflict.owners.into_iter().map(|(key, fields)| (key, fields.difference(&left)));
        let owners: Losers = rest.filter(|(_, fields)| !fields.is_empty()).collect();
        (!owners.is_empty()).then_some(Conflict { owners })
    }

    fn left_as_applied(&self, live: &Value) -> Option<FieldSet> {
        let last = last_applied::read(live).filter(|last| object::str_at(last, "apiVersion") == self.api_version)?;
        let (walk, place) = (self.walk(), self.place(self.api_version)?);
        let changed = walk.compare(place, &last, live);
        Some(walk.fields(place, &last).difference(&changed.touched).difference(&changed.removed))
    }
}
