//! Event of events.k8s.io. Stored as core events, so everything here reads both forms.

use api_machinery::quote::quoted;
use api_machinery::{ErrorList, GroupResource, Path, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::list::{core_event, core_internal_json as internal};
use crate::{Kind, cells, meta};

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
    /// As events are stored; what a new one of this group may be called is said below.
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        core_event::validate_old_way(object, "reportingController", errors);
        let is_new = meta::is_new(object);
        if is_new {
            validate_name(object, errors);
        }
        meta::validate_known_finalizers(object, errors);
        if is_new {
            validate_new(object, errors);
        }
    }
    /// Only the series goes on.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if child(object, "series") != child(old, "series") {
            validate_series(&At::root(object), errors);
        }
        for (new, stored, called, form) in FIXED {
            let [now, before] = [object, old].map(|event| form.printed(core_event::either(event, new, stored)));
            if now != before {
                errors.invalid_printed(&Path::new(called), &now, IMMUTABLE);
            }
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

/// How a field is shown, and what it is when unset.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Time,
    Part(&'static str),
    /// One that may be missing.
    Optional(&'static str),
}

impl Form {
    fn printed(self, value: &Value) -> String {
        match self {
            Form::Text => quoted(value.as_str().unwrap_or("")),
            Form::Number => value.as_i64().unwrap_or(0).to_string(),
            Form::Time => value.to_string(),
            Form::Optional(_) if value.is_null() => "null".to_owned(),
            Form::Part(of) | Form::Optional(of) => internal::shown(of, value),
        }
    }
}

/// What stays: new name, stored name, the name in errors, and what it is.
const FIXED: [(&str, &str, &str, Form); 14] = [
    ("regarding", "involvedObject", "involvedObject", Form::Part("ObjectReference")),
    ("reason", "reason", "reason", Form::Text),
    ("note", "message", "message", Form::Text),
    ("deprecatedSource", "source", "source", Form::Part("EventSource")),
    ("deprecatedFirstTimestamp", "firstTimestamp", "firstTimestamp", Form::Time),
    ("deprecatedLastTimestamp", "lastTimestamp", "lastTimestamp", Form::Time),
    ("deprecatedCount", "count", "count", Form::Number),
    // Upstream says it twice.
    ("reason", "reason", "reason", Form::Text),
    ("type", "type", "type", Form::Text),
    ("eventTime", "eventTime", "eventTime", Form::Time),
    ("action", "action", "action", Form::Text),
    ("related", "related", "related", Form::Optional("ObjectReference")),
    ("reportingController", "reportingComponent", "reportingController", Form::Text),
    ("reportingInstance", "reportingInstance", "reportingInstance", Form::Text),
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

/// Of a new one, which may not be called anything, as in the core group.
fn validate_name(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let base = root.field("metadata.generateName");
    if !base.is_empty() {
        for message in names::dns1123_subdomain(&names::mask_trailing_dash(base.str())) {
            base.invalid(errors, &message);
        }
    }
    root.field("metadata.name").format_if_set(errors, names::dns1123_subdomain);
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
        if !is_empty(value) && value.as_i64() != Some(0) {
            errors.invalid(&root.field(stored).path(), &blank, "needs to be unset");
        }
    }
}
