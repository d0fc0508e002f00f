//! Event of the core group: how all events are stored.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::{Kind, cells};

pub(crate) struct Event;

impl Kind for Event {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "events")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x", "namespace": "default"},
               "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
               "reason": "Started", "type": "Normal", "message": "Started container"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_namespace(object, "involvedObject", errors);
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        match field {
            "involvedObject.kind"
            | "involvedObject.namespace"
            | "involvedObject.name"
            | "involvedObject.uid"
            | "involvedObject.apiVersion"
            | "involvedObject.resourceVersion"
            | "involvedObject.fieldPath"
            | "reason"
            | "reportingComponent"
            | "type" => Some(object::str_at(object, field).to_owned()),
            "source" => Some(source(object).to_owned()),
            _ => None,
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(cells_of_core(object, now))
    }
}

fn source(object: &Value) -> &str {
    let component = object::str_at(object, "source.component");
    if component.is_empty() { object::str_at(object, "reportingComponent") } else { component }
}

/// Events of cluster-scoped objects are in `default`.
pub(crate) fn validate_namespace(object: &Value, involved: &str, errors: &mut ErrorList) {
    let root = At::root(object);
    let of_involved = object::str_at(crate::at::child(object, involved), "namespace");
    let own = object::namespace(object);
    let wrong = if of_involved.is_empty() { own != "default" && !own.is_empty() } else { own != of_involved };
    if wrong {
        let place = root.field("involvedObject.namespace");
        errors.invalid(&place.path(), &Value::from(of_involved), "does not match event.namespace");
    }
}

/// The row of an event, whichever group it is asked of.
pub(crate) fn cells_of_core(object: &Value, now: Timestamp) -> Vec<Value> {
    let text = |path: &str| object::str_at(object, path);
    let event_time = || cells::since(text("eventTime"), now);
    let time_or = |path: &str, other: &dyn Fn() -> String| match text(path) {
        "" => other(),
        time => cells::since(time, now),
    };
    let first = time_or("firstTimestamp", &event_time);
    let mut last = time_or("lastTimestamp", &|| first.clone());
    let mut count = cells::int(object, "count").max(1);
    if object.get("series").is_some_and(Value::is_object) {
        last = cells::since(text("series.lastObservedTime"), now);
        count = cells::int(object, "series.count");
    }
    vec![
        last.into(),
        text("type").into(),
        text("reason").into(),
        target(object).into(),
        text("involvedObject.fieldPath").into(),
        origin(object).into(),
        text("message").trim().into(),
        first.into(),
        count.into(),
        cells::name(object),
    ]
}

/// `pod/web-0`
fn target(object: &Value) -> String {
    let kind = object::str_at(object, "involvedObject.kind").to_lowercase();
    match object::str_at(object, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

/// `kubelet, node-1`
fn origin(object: &Value) -> String {
    let host = match object::str_at(object, "source.host") {
        "" => object::str_at(object, "reportingInstance"),
        host => host,
    };
    match host {
        "" => source(object).to_owned(),
        host => format!("{}, {host}", source(object)),
    }
}
