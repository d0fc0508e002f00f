//! Event of the core group: how all events are stored.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
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
    /// Events of this group may be called anything that a path can hold.
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_old_way(object, "reportingComponent", errors);
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

/// Bytes of an action and its like, and of what is said.
const MAX_TEXT: usize = 128;
const MAX_NOTE: usize = 1024;

/// A field under the name of one group or of the other.
pub(crate) fn either<'v>(object: &'v Value, new: &str, stored: &str) -> &'v Value {
    if object.get(new).is_some() { child(object, new) } else { child(object, stored) }
}

/// What holds in both groups. Paths are those of the stored form, but for the controller's. An event with a time is
/// one of the new kind, and has to say more.
pub(crate) fn validate_old_way(object: &Value, controller: &str, errors: &mut ErrorList) {
    let root = At::root(object);
    let timed = !root.field("eventTime").is_empty();
    validate_namespace(object, timed, errors);
    if timed {
        validate_new_fields(&root, controller, errors);
    }
    let namespace = Value::from(object::namespace(object));
    root.field("namespace").with(&namespace).format(errors, names::dns1123_subdomain);
}

/// Events of cluster-scoped objects are in `default`, those with a time in `kube-system` too.
fn validate_namespace(object: &Value, timed: bool, errors: &mut ErrorList) {
    let root = At::root(object);
    let of_involved = object::str_at(either(object, "regarding", "involvedObject"), "namespace");
    let own = object::namespace(object);
    let right = match (of_involved, timed) {
        ("", true) => own == "default" || own == "kube-system",
        ("", false) => own == "default" || own.is_empty(),
        (_, true) => true,
        (namespace, false) => own == namespace,
    };
    if !right {
        let place = root.field("involvedObject.namespace");
        errors.invalid(&place.path(), &Value::from(of_involved), "does not match event.namespace");
    }
}

fn validate_new_fields(root: &At<'_>, called: &str, errors: &mut ErrorList) {
    let controller = root.field(called).with(either(root.value, "reportingController", "reportingComponent"));
    controller.need(errors);
    controller.format(errors, names::qualified_name);
    for field in ["reportingInstance", "action", "reason"] {
        let at = root.field(field);
        at.need(errors);
        bounded(&at, MAX_TEXT, errors);
    }
    bounded(&root.field("message").with(either(root.value, "note", "message")), MAX_NOTE, errors);
}

fn bounded(at: &At<'_>, most: usize, errors: &mut ErrorList) {
    if at.str().len() > most {
        errors.invalid(&at.path(), &Value::from(""), &format!("can have at most {most} characters"));
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
