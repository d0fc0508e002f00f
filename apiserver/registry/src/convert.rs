//! Resources that are served in another version than they are stored in: `events.k8s.io/v1` Events are
//! stored as core ones, `autoscaling/v1` autoscalers as `v2`, and versions that have to be switched on as the one that
//! is always served, whose fields are the same. Everything else is stored as it is served.

use std::sync::Arc;

use api_cache::Object;
use api_codec::decode::{self, FieldValidation};
use api_machinery::{Value, object};
use api_schema::{Resource, Schema, TypeId};
use serde_json::{Map, json};

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

/// What `autoscaling/v1` has no field for travels in these annotations, as upstream.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    Events,
    Autoscalers,
    /// A version before the stable one, which has no field that the stable one has not.
    Early,
}

fn pair(resource: &Resource) -> Option<Pair> {
    match (&*resource.gv.group, &*resource.gv.version, resource.plural.as_str()) {
        ("events.k8s.io", "v1", "events") => Some(Pair::Events),
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some(Pair::Autoscalers),
        (_, version, _) if version.contains("alpha") || version.contains("beta") => Some(Pair::Early),
        _ => None,
    }
}

/// The resource whose type the defaults of what a client sends are found at.
pub(crate) fn defaulted<'s>(schema: &'s Schema, resource: &'s Resource) -> &'s Resource {
    match pair(resource) {
        Some(Pair::Early) => schema.preferred(&resource.storage).unwrap_or(resource),
        _ => resource,
    }
}

/// Whether objects of this resource are not sent as they are stored.
pub(crate) fn is_needed(resource: &Resource) -> bool {
    pair(resource).is_some()
}

pub(crate) fn to_storage(schema: &Schema, resource: &Resource, mut value: Value) -> Value {
    match pair(resource) {
        None => {}
        Some(Pair::Events) => {
            value["apiVersion"] = "v1".into();
            rename(&mut value, EVENT_FIELDS);
        }
        Some(Pair::Autoscalers) => {
            let stored = stored_type(schema, resource);
            autoscaler_to_v2(&mut value, &|part, field, item| conformed(schema, stored?, part, field, item));
        }
        Some(Pair::Early) => value["apiVersion"] = resource.storage_gv.to_string().into(),
    }
    value
}

/// What an annotation says is to become of a field, as the field's type has it: the client wrote it, and no
/// decoding has looked at it. `None` when it does not fit; upstream leaves it out then.
fn conformed(schema: &Schema, stored: TypeId, part: &str, field: &str, item: Value) -> Option<Value> {
    let mut probe = json!({part: {field: item}});
    decode::conform(schema, stored, &mut probe, Vec::new(), FieldValidation::Ignore).ok()?;
    probe.get_mut(part)?.get_mut(field).map(Value::take)
}

/// Checks a value for a field of a part (`spec`, `status`) of the stored object.
type Conform<'a> = dyn Fn(&str, &str, Value) -> Option<Value> + 'a;

pub(crate) fn from_storage(resource: &Resource, mut value: Value) -> Value {
    match pair(resource) {
        None => {}
        Some(Pair::Events) => {
            value["apiVersion"] = "events.k8s.io/v1".into();
            rename(&mut value, EVENT_FIELDS.map(|(served, stored)| (stored, served)));
        }
        Some(Pair::Autoscalers) => autoscaler_to_v1(&mut value),
        Some(Pair::Early) => value["apiVersion"] = resource.gv.to_string().into(),
    }
    value
}

/// The type of what is stored.
pub(crate) fn stored_type(schema: &Schema, resource: &Resource) -> Option<TypeId> {
    match pair(resource) {
        None => resource.type_id,
        Some(_) => schema.preferred(&resource.storage).and_then(|stored| stored.type_id),
    }
}

/// A cached object as it is served.
pub(crate) fn object(resource: &Resource, object: Arc<Object>) -> Arc<Object> {
    if !is_needed(resource) {
        return object;
    }
    let value = from_storage(resource, Arc::unwrap_or_clone(object.value()));
    let stored = api_codec::stored::encode(&value);
    let sent = Object::from_stored(object.key.clone(), object.revision, &stored);
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

fn take(value: &mut Value, part: &str, field: &str) -> Option<Value> {
    value.get_mut(part)?.as_object_mut()?.remove(field)
}

fn put(value: &mut Value, part: &str, field: &str, item: Value) {
    if let Some(map) = value.as_object_mut() {
        let part = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if let Some(part) = part.as_object_mut() {
            part.insert(field.to_owned(), item);
        }
    }
}

fn annotate(value: &mut Value, key: &str, item: &Value) {
    let annotations = object::meta_mut(value).entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Some(map) = annotations.as_object_mut() {
        map.insert(key.to_owned(), item.to_string().into());
    }
}

fn take_annotation(value: &mut Value, key: &str) -> Option<Value> {
    let meta = object::meta_mut(value);
    let annotations = meta.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn is_cpu_utilization(metric: &Value, at: &str) -> bool {
    object::str_at(metric, "type") == "Resource"
        && object::str_at(metric, "resource.name") == "cpu"
        && object::at(metric, at).is_some_and(Value::is_number)
}

fn list_of(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn autoscaler_to_v2(value: &mut Value, conform: &Conform<'_>) {
    value["apiVersion"] = "autoscaling/v2".into();
    let mut annotated = |annotation: &str, part: &str, field: &str| -> Option<Value> {
        take_annotation(value, annotation).and_then(|item| conform(part, field, item))
    };
    let mut metrics = list_of(annotated(METRICS, "spec", "metrics"));
    let behavior = annotated(BEHAVIOR, "spec", "behavior");
    let mut current = list_of(annotated(CURRENT_METRICS, "status", "currentMetrics"));
    let conditions = annotated(CONDITIONS, "status", "conditions");
    if let Some(target) = take(value, "spec", "targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        metrics.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        put(value, "spec", "metrics", metrics.into());
    }
    if let Some(percentage) = take(value, "status", "currentCPUUtilizationPercentage") {
        let now = json!({"averageUtilization": percentage});
        current.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": now}}));
    }
    if !current.is_empty() {
        put(value, "status", "currentMetrics", current.into());
    }
    for (part, field, item) in [("spec", "behavior", behavior), ("status", "conditions", conditions)] {
        if let Some(item) = item {
            put(value, part, field, item);
        }
    }
}

fn autoscaler_to_v1(value: &mut Value) {
    value["apiVersion"] = "autoscaling/v1".into();
    let lists = [
        ("spec", "metrics", "resource.target.averageUtilization", "targetCPUUtilizationPercentage", METRICS),
        (
            "status",
            "currentMetrics",
            "resource.current.averageUtilization",
            "currentCPUUtilizationPercentage",
            CURRENT_METRICS,
        ),
    ];
    for (part, field, at, served, annotation) in lists {
        let Some(Value::Array(mut rest)) = take(value, part, field) else { continue };
        if let Some(index) = rest.iter().position(|metric| is_cpu_utilization(metric, at)) {
            let metric = rest.remove(index);
            put(value, part, served, object::at(&metric, at).cloned().unwrap_or_default());
        }
        if !rest.is_empty() {
            annotate(value, annotation, &rest.into());
        }
    }
    if let Some(behavior) = take(value, "spec", "behavior") {
        annotate(value, BEHAVIOR, &behavior);
    }
    if let Some(conditions) = take(value, "status", "conditions") {
        annotate(value, CONDITIONS, &conditions);
    }
}
