//! Event of events.k8s.io. Stored as core events, so everything here reads both forms.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::core_event;
use crate::{Kind, cells};

pub(crate) struct Event;

const MAX_TEXT: usize = 128;
const MAX_NOTE: usize = 1024;
/// New name, stored name.
const RENAMED: [(&str, &str); 6] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
];

impl Kind for Event {
    fn resource(&self) -> GroupResource {
        GroupResource::new("events.k8s.io", "events")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "x", "namespace": "default"},
               "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "Started",
               "type": "Normal", "action": "Starting", "reportingController": "example.com/c",
               "reportingInstance": "i", "eventTime": "2026-01-01T00:00:00.000000Z"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let involved = if object.get("regarding").is_some() { "regarding" } else { "involvedObject" };
        core_event::validate_namespace(object, involved, errors);
        validate_new(object, errors);
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        let (root, rest) = field.split_once('.').unwrap_or((field, ""));
        let stored = RENAMED.iter().find(|(new, _)| *new == root).map_or(root, |(_, stored)| stored);
        let stored = if rest.is_empty() { stored.to_owned() } else { format!("{stored}.{rest}") };
        if !matches!(root, "regarding" | "reason" | "reportingController" | "type") {
            return None;
        }
        let own = object::str_at(object, field);
        Some(if own.is_empty() { object::str_at(object, &stored) } else { own }.to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        if object.get("involvedObject").is_some() {
            return Some(core_event::cells_of_core(object, now));
        }
        let mut core = object.clone();
        for (new, stored) in RENAMED {
            if let Some(value) = object.get(new) {
                core[stored] = value.clone();
            }
        }
        core["count"] = cells::int(object, "deprecatedCount").into();
        Some(core_event::cells_of_core(&core, now))
    }
}

/// What events of the new group must say. Paths are those of the stored form.
pub(crate) fn validate_new(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let either = |new: &str, stored: &str| match object.get(new) {
        Some(_) => child(object, new),
        None => child(object, stored),
    };
    let time = root.field("eventTime");
    if time.is_empty() {
        time.required(errors, "");
    }
    let kind = root.field("type");
    if !["Normal", "Warning"].contains(&kind.str()) {
        kind.invalid(errors, &format!("has invalid value: {}", kind.str()));
    }
    let controller = root.field("reportingController").with(either("reportingController", "reportingComponent"));
    if controller.is_empty() {
        controller.required(errors, "");
    }
    controller.format(errors, api_machinery::names::qualified_name);
    for field in ["reportingInstance", "action", "reason"] {
        let at = root.field(field);
        if at.is_empty() {
            at.required(errors, "");
        }
        if at.str().len() > MAX_TEXT {
            at.invalid(errors, &format!("can have at most {MAX_TEXT} characters"));
        }
    }
    let note = root.field("message").with(either("note", "message"));
    if note.str().len() > MAX_NOTE {
        note.invalid(errors, &format!("can have at most {MAX_NOTE} characters"));
    }
    for (new, stored) in [("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp")]
    {
        let at = root.field(stored).with(either(new, stored));
        if !is_empty(at.value) {
            at.invalid(errors, "needs to be unset");
        }
    }
    let count = root.field("count").with(either("deprecatedCount", "count"));
    if count.int().unwrap_or(0) != 0 {
        count.invalid(errors, "needs to be unset");
    }
    let source = root.field("source").with(either("deprecatedSource", "source"));
    if !is_empty(source.value) && !crate::at::same(source.value, &Value::Null) {
        source.invalid(errors, "needs to be unset");
    }
}
