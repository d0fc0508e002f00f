//! Who manages which field of what is written: `metadata.managedFields`.
//!
//! Decided before admission, as upstream: what plugins add belongs to nobody until somebody writes it.

use api_admission::Notes;
use api_codec::apply::{FieldSet, Manager, Ownership, Versions};
use api_codec::decode;
use api_codec::default::{drop_told_empty, has_told_empty};
use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Reason, Value, object, time};
use api_schema::{Resource, Schema, TypeId};

use crate::apply::Application;
use crate::scope::Scope;
use crate::{Registry, RequestInfo, Target, aside, body, convert};

/// The served versions of one kind.
struct Served<'a> {
    schema: &'a Schema,
    resource: &'a Resource,
}

impl Served<'_> {
    fn version(&self, api_version: &str) -> Option<&Resource> {
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        let kind = self.resource.kind.as_str().into();
        let found = self.schema.resource_of_kind(&GroupVersionKind { group, version, kind })?;
        (found.storage == self.resource.storage).then_some(found)
    }
}

impl Versions for Served<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let from = self.version(object::str_at(object, "apiVersion"))?;
        let to = self.version(api_version)?;
        Some(convert::from_storage(to, convert::as_stored(self.schema, from, object.clone())))
    }
}

/// One kind as its body says it is.
pub(crate) struct Typed<'a> {
    pub(crate) api_version: String,
    pub(crate) kind: &'a str,
    pub(crate) type_id: Option<TypeId>,
}

/// Fields that a write through this subresource does not change, whatever it says.
fn reset(schema: &Schema, scope: &Scope<'_>) -> FieldSet {
    let strategy = schema.strategy(&scope.resource.storage);
    let fields = |list: &[String]| FieldSet::of_fields(list.iter().map(String::as_str));
    match (scope.subresource, strategy) {
        ("", Some(strategy)) => fields(&strategy.reset_on_main),
        ("status", Some(strategy)) => fields(&strategy.reset_on_status),
        ("approval", _) => FieldSet::of_fields(["spec", "status.certificate"]),
        ("finalize", _) => FieldSet::of_fields(["status"]),
        // Upstream's endpoints of ephemeral containers and resizes do not hand on what their strategies would reset.
        _ => FieldSet::default(),
    }
}

impl Registry {
    /// What is decided on a write of `typed` through the scope.
    fn decide<T>(&self, scope: &Scope<'_>, typed: &Typed<'_>, decide: impl FnOnce(&Ownership<'_>) -> T) -> T {
        let versions = Served { schema: self.schema, resource: scope.resource };
        let now = time::seconds(scope.now);
        decide(&Ownership {
            schema: self.schema,
            versions: &versions,
            api_version: &typed.api_version,
            kind: typed.kind,
            reset: &reset(self.schema, scope),
            now: &now,
        })
    }

    fn typed<'a>(scope: &'a Scope<'_>) -> Typed<'a> {
        let resource = scope.resource;
        Typed { api_version: resource.gv.to_string(), kind: &resource.kind, type_id: resource.type_id }
    }

    /// Gives the writer what it changed in `value`; `live` is `None` on a create. Both as they are stored.
    pub(crate) fn own(&self, scope: &Scope<'_>, live: Option<&Value>, value: &mut Value) {
        aside::on_value_mut(value, |value| self.own_stored(scope, live, value));
    }

    fn own_stored(&self, scope: &Scope<'_>, live: Option<&Value>, value: &mut Value) {
        let typed = Self::typed(scope);
        let stored = convert::stored_type(scope.resource);
        let tells = stored.filter(|id| has_told_empty(self.schema, *id, value));
        if !convert::is_needed(scope.resource) && tells.is_none() {
            return self.own_typed(scope, &typed, live, value);
        }
        // Nobody manages what is only there to be validated.
        let mut kept = value.clone();
        if let Some(id) = tells {
            drop_told_empty(self.schema, id, &mut kept);
        }
        let live = live.map(|live| convert::from_storage(scope.resource, live.clone()));
        let mut served = convert::from_storage(scope.resource, kept);
        self.own_typed(scope, &typed, live.as_ref(), &mut served);
        put_managers(value, take_managers(&mut served));
    }

    /// The same, of objects as the request has them.
    pub(crate) fn own_typed(&self, scope: &Scope<'_>, typed: &Typed<'_>, live: Option<&Value>, value: &mut Value) {
        let manager = manager(scope);
        self.decide(scope, typed, |ownership| ownership.update(live, value, manager));
    }

    /// Gives the asker what a review says, which is judged and answered but never stored.
    pub fn own_review(&self, info: &RequestInfo, target: &Target<'_>, review: &mut Value) {
        let notes = Notes::default();
        let scope = self.scope(info, target, &notes);
        let typed = Self::typed(&scope);
        aside::on_value_mut(review, |review| self.own_typed(&scope, &typed, None, review));
    }

    /// The object with a configuration applied, as it is to be stored. Conformed and defaulted; `live` as it is stored.
    pub(crate) fn applied(
        &self,
        scope: &Scope<'_>,
        live: Option<&Value>,
        application: &Application,
    ) -> Result<Value, ApiError> {
        let live = live.map(|live| convert::from_storage(scope.resource, live.clone()));
        let mut value = self.applied_typed(scope, &Self::typed(scope), live.as_ref(), application)?;
        body::default(self.schema, scope.resource, &mut value);
        Ok(convert::to_storage(self.schema, scope.resource, value))
    }

    /// The same, as the request has objects. Not defaulted.
    pub(crate) fn applied_typed(
        &self,
        scope: &Scope<'_>,
        typed: &Typed<'_>,
        live: Option<&Value>,
        application: &Application,
    ) -> Result<Value, ApiError> {
        let manager = manager(scope);
        let apply = |ownership: &Ownership<'_>| ownership.apply(live, &application.config, manager, application.force);
        let mut value = self.decide(scope, typed, apply).map_err(|failure| failure.to_error())?;
        if let Some(type_id) = typed.type_id {
            let settled = decode::settle(self.schema, type_id, &mut value);
            settled.map_err(|why| unreadable(&application.config, typed, &why))?;
        }
        application.check_strictness(scope)?;
        Ok(value)
    }
}

fn manager<'a>(scope: &Scope<'a>) -> Manager<'a> {
    Manager { name: &scope.info.field_manager, subresource: scope.subresource }
}

/// What fits no field of its kind, though its JSON type may: a malformed time. As upstream, 500, and the place is the
/// one that the configuration names.
fn unreadable(config: &Value, typed: &Typed<'_>, why: &str) -> ApiError {
    let gv = GroupVersion::parse(&typed.api_version);
    let (kind, namespace, name) = (typed.kind, object::namespace(config), object::name(config));
    let gvk = format!("{}/{}, Kind={kind}", gv.group, gv.version);
    let message = format!(
        "failed to convert new object ({namespace}/{name}; {gvk}) to proper version: unable to convert unstructured \
         object to {gvk}: {why}"
    );
    ApiError::new(500, Reason::Unknown, message)
}

pub(crate) fn take_managers(object: &mut Value) -> Option<Value> {
    object::meta_mut(object).remove("managedFields")
}

pub(crate) fn put_managers(object: &mut Value, managers: Option<Value>) {
    let meta = object::meta_mut(object);
    match managers {
        Some(managers) => meta.insert("managedFields".to_owned(), managers),
        None => meta.remove("managedFields"),
    };
}

/// What becomes of an object that is too large with its managers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heavy {
    /// It is stored without them, as upstream: they are worth less than the write.
    Lightened,
    /// It is refused: an apply rests on them.
    Refused,
}

impl Heavy {
    pub(crate) fn lightens(self, error: &ApiError) -> bool {
        self == Self::Lightened && error.reason == Reason::RequestEntityTooLarge
    }
}

fn managers(object: &Value) -> &[Value] {
    let list = object::meta(object).and_then(|meta| meta.get("managedFields")).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// Whether two entries are the same but for their time.
fn same_but_time(one: &Value, other: &Value) -> bool {
    let rest = |entry: &Value| {
        let map = entry.as_object().cloned().unwrap_or_default();
        map.into_iter().filter(|(name, _)| name != "time").collect::<serde_json::Map<_, _>>()
    };
    rest(one) == rest(other)
}

/// Takes back the times of managers where nothing else changes: a write without a change is none.
pub(crate) fn keep_times(value: &mut Value, old: &Value) {
    let (now, then) = (managers(value), managers(old));
    let only_times =
        now.len() == then.len() && now != then && now.iter().zip(then).all(|(one, other)| same_but_time(one, other));
    if !only_times {
        return;
    }
    let renewed = take_managers(value);
    put_managers(value, object::meta(old).and_then(|meta| meta.get("managedFields")).cloned());
    if value != old {
        put_managers(value, renewed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(data: &str, time: &str, fields: Value) -> Value {
        json!({"metadata": {"managedFields": [{"manager": "m", "time": time, "fieldsV1": fields}]}, "data": data})
    }

    #[test]
    fn times_alone_are_no_change() {
        let old = object("a", "1", json!({"f:data": {}}));
        let after = |mut value: Value| {
            keep_times(&mut value, &old);
            value
        };
        assert_eq!(after(object("a", "2", json!({"f:data": {}}))), old);
        for changed in [object("b", "2", json!({"f:data": {}})), object("a", "2", json!({})), json!({"data": "a"})] {
            assert_eq!(after(changed.clone()), changed);
        }
    }
}
