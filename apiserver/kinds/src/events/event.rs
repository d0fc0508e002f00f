//! Event of events.k8s.io. Stored as core events, so everything here reads both forms.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::list::core_event;
use crate::{Kind, cells};

pub(crate) struct Event;

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
        core_event::validate_old_way(object, "reportingController", errors);
        if object::resource_version(object).is_empty() {
            validate_new(object, errors);
        }
    }
    /// Only the series goes on.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        if !same(child(object, "series"), child(old, "series")) {
            validate_series(&root, errors);
        }
        for (new, stored, called) in FIXED {
            let at = root.field(called).with(core_event::either(object, new, stored));
            at.unchanged(errors, core_event::either(old, new, stored));
        }
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

/// What stays: new name, stored name, and the name in errors.
const FIXED: [(&str, &str, &str); 13] = [
    ("regarding", "involvedObject", "involvedObject"),
    ("reason", "reason", "reason"),
    ("note", "message", "message"),
    ("deprecatedSource", "source", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count", "count"),
    ("type", "type", "type"),
    ("eventTime", "eventTime", "eventTime"),
    ("action", "action", "action"),
    ("related", "related", "related"),
    ("reportingController", "reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance", "reportingInstance"),
];

fn validate_series(root: &At<'_>, errors: &mut ErrorList) {
    let series = root.field("series");
    if !series.present() {
        return;
    }
    if series.field("count").int().unwrap_or(0) < 2 {
        errors.invalid(&series.field("count").path(), &Value::from(""), "should be at least 2");
    }
    series.field("lastObservedTime").need(errors);
}

/// What new events of the new group must say besides. Paths are those of the stored form.
fn validate_new(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let blank = Value::from("");
    validate_series(&root, errors);
    root.field("eventTime").need(errors);
    let kind = root.field("type");
    if !["Normal", "Warning"].contains(&kind.str()) {
        errors.invalid(&kind.path(), &blank, &format!("has invalid value: {}", kind.str()));
    }
    for (new, stored) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let value = core_event::either(object, new, stored);
        if !same(value, &Value::Null) && value.as_i64() != Some(0) {
            errors.invalid(&root.field(stored).path(), &blank, "needs to be unset");
        }
    }
}
