//! Resources that are served in another version than they are worked with in, the hub: `events.k8s.io/v1` Events are
//! core ones, `autoscaling/v1` autoscalers are `v2`, and versions that have to be switched on are the stable one, or of
//! kinds that have none the one that is stored. Everything else is worked with as it is served. What is stored in
//! another version than the hub is the codec's business (`stored_version`).

use std::sync::Arc;

use api_cache::Object;
use api_codec::decode::{self, FieldValidation};
use api_machinery::Value;
use api_schema::{Resource, Schema, Shape, TypeId};
use serde_json::{Map, json};

use crate::{autoscalers, devices};

/// (events.k8s.io/v1, core/v1)
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    Events,
    Autoscalers,
    /// Claims and slices before devices and requests had their fields right inside.
    Devices,
    /// An early version, whose fields are the same.
    Early,
}

fn pair(resource: &Resource) -> Option<Pair> {
    let other = resource.gv != resource.hub_gv;
    other.then(|| match (&*resource.gv.group, &*resource.gv.version) {
        ("events.k8s.io", _) => Pair::Events,
        ("autoscaling", _) => Pair::Autoscalers,
        ("resource.k8s.io", "v1beta1") => Pair::Devices,
        _ => Pair::Early,
    })
}

/// Fills in defaults where they are found: an early version has those of the version it is worked with in, and where
/// that has other fields, they are its own.
pub(crate) fn as_defaulted(
    schema: &Schema,
    resource: &Resource,
    value: &mut Value,
    default: impl FnOnce(&Resource, &mut Value),
) {
    let hub = schema.hub(&resource.storage).unwrap_or(resource);
    match pair(resource) {
        None | Some(Pair::Events | Pair::Autoscalers) => default(resource, value),
        Some(Pair::Early) => default(hub, value),
        Some(Pair::Devices) => {
            devices::to_v1(value);
            default(hub, value);
            devices::to_v1beta1(value);
        }
    }
}

/// Whether objects of this resource are not sent as they are stored.
pub(crate) fn is_needed(resource: &Resource) -> bool {
    pair(resource).is_some()
}

/// Whether what is stored has defaults besides those of what is sent: those of its own version, which upstream applies
/// when it reads, so that no validation sees them.
pub(crate) fn is_defaulted_late(resource: &Resource) -> bool {
    pair(resource) == Some(Pair::Autoscalers)
}

/// What is to be stored of an object that was defaulted in the version it is served in.
pub(crate) fn to_storage(schema: &Schema, resource: &Resource, value: Value) -> Value {
    let mut value = as_stored(schema, resource, value);
    if pair(resource) == Some(Pair::Autoscalers) {
        autoscalers::default_metrics(&mut value);
    }
    value
}

/// The same object in the version that is stored, and nothing besides.
pub(crate) fn as_stored(schema: &Schema, resource: &Resource, mut value: Value) -> Value {
    match pair(resource) {
        None => {}
        Some(Pair::Events) => {
            value["apiVersion"] = "v1".into();
            rename(&mut value, EVENT_FIELDS);
        }
        Some(Pair::Autoscalers) => {
            let stored = stored_type(resource);
            autoscalers::to_v2(&mut value, &|part, field, item| conformed(schema, stored?, part, field, item));
        }
        Some(Pair::Early) => value["apiVersion"] = resource.hub_gv.to_string().into(),
        Some(Pair::Devices) => {
            devices::to_v1(&mut value);
            value["apiVersion"] = resource.hub_gv.to_string().into();
        }
    }
    value
}

/// What an annotation says is to become of a field, as the field's type has it: the client wrote it, and no
/// decoding has looked at it. `None` when it does not fit; upstream leaves it out then.
fn conformed(schema: &Schema, stored: TypeId, part: &str, field: &str, item: Value) -> Option<Value> {
    let mut probe = with_names(schema, &Shape::Message(stored), json!({part: {field: item}}));
    decode::conform(schema, stored, &mut probe, Vec::new(), FieldValidation::Ignore).ok()?;
    Some(probe.get_mut(part).and_then(|part| part.get_mut(field)).map(Value::take).unwrap_or_default())
}

/// With the names of fields as they are: Go's own decoder, which upstream reads annotations with, takes them in
/// whatever case.
fn with_names(schema: &Schema, shape: &Shape, value: Value) -> Value {
    match (shape, value) {
        (Shape::Message(id), Value::Object(map)) => {
            let one = schema.get(*id);
            let mut made = Map::new();
            for (name, value) in map {
                let like = || one.fields.iter().find(|field| field.json.eq_ignore_ascii_case(&name));
                let Some(field) = one.field(&name).or_else(like) else { continue };
                if field.json == name || !made.contains_key(&field.json) {
                    made.insert(field.json.clone(), with_names(schema, &field.shape, value));
                }
            }
            Value::Object(made)
        }
        (Shape::List(element), Value::Array(list)) => {
            list.into_iter().map(|value| with_names(schema, element, value)).collect()
        }
        (_, value) => value,
    }
}

pub(crate) fn from_storage(resource: &Resource, mut value: Value) -> Value {
    match pair(resource) {
        None => {}
        Some(Pair::Events) => {
            value["apiVersion"] = "events.k8s.io/v1".into();
            rename(&mut value, EVENT_FIELDS.map(|(served, stored)| (stored, served)));
        }
        Some(Pair::Autoscalers) => autoscalers::to_v1(&mut value),
        Some(Pair::Early) => value["apiVersion"] = resource.gv.to_string().into(),
        Some(Pair::Devices) => {
            devices::to_v1beta1(&mut value);
            value["apiVersion"] = resource.gv.to_string().into();
        }
    }
    value
}

/// The type of what is worked with.
pub(crate) fn stored_type(resource: &Resource) -> Option<TypeId> {
    match pair(resource) {
        None => resource.type_id,
        Some(_) => resource.hub_type_id,
    }
}

/// A cached object as it is served.
pub(crate) fn object(resource: &Resource, object: Arc<Object>) -> Arc<Object> {
    if !is_needed(resource) {
        return object;
    }
    let value = from_storage(resource, Arc::unwrap_or_clone(object.value()));
    let stored = api_codec::stored::encode(&value);
    let sent = Object::from_served(object.key.clone(), object.revision, &stored);
    sent.map_or(object, Arc::new)
}

fn rename<const N: usize>(value: &mut Value, fields: [(&str, &str); N]) {
    let Some(map) = value.as_object_mut() else { return };
    for (from, to) in fields {
        if let Some(moved) = map.remove(from) {
            map.insert(to.to_owned(), moved);
        }
    }
}
