//! PriorityClass.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells, meta};

pub(crate) struct PriorityClass;

/// Users' classes are at most so high; above are the system's own.
const HIGHEST_OF_USERS: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Kind for PriorityClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("scheduling.k8s.io", "priorityclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "x"}, "value": 10})
    }
    fn generation_grows(&self, _object: &Value, _old: &Value) -> bool {
        false
    }
    /// Of what exists nothing that is asked about here may change.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if !meta::is_new(object) {
            return;
        }
        let root = At::root(object);
        let name = object::name(object);
        if name.starts_with("system-") {
            if let Err(error) = check_system(object) {
                let detail = "priority class names with 'system-' prefix are reserved for system use only. error: ";
                root.field("metadata.name").forbidden(errors, &format!("{detail}{error}"));
            }
        } else if root.field("value").int().unwrap_or(0) > HIGHEST_OF_USERS {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
            root.field("value").forbidden(errors, &detail);
        }
        let policy = root.field("preemptionPolicy");
        if policy.present() && policy.need(errors) && !["PreemptLowerPriority", "Never"].contains(&policy.str()) {
            policy.unsupported_listed(errors, &["PreemptLowerPriority", "Never"]);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        if cells::int(object, "value") != cells::int(old, "value") {
            root.field("value").forbidden(errors, "may not be changed in an update.");
        }
        let policy = root.field("preemptionPolicy");
        if policy.str() != object::str_at(old, "preemptionPolicy") {
            policy.invalid(errors, IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![
            cells::name(object),
            cells::int(object, "value").into(),
            (child(object, "globalDefault") == &Value::Bool(true)).into(),
            cells::age(object, now),
            cells::text(object, "preemptionPolicy"),
        ])
    }
}

/// Why it is none of the system's own.
fn check_system(object: &Value) -> Result<(), String> {
    let (name, value) = (object::name(object), cells::int(object, "value"));
    let Some((_, wanted)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != *wanted {
        return Err(format!("value of {name} PriorityClass must be {wanted}"));
    }
    if child(object, "globalDefault") == &Value::Bool(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
