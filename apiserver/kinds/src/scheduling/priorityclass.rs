//! PriorityClass.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells};

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
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let name = object::name(object);
        if name.starts_with("system-") {
            if !is_system(object) {
                let detail = "priority class names with 'system-' prefix are reserved for system use only. error: \
                              class is not one of the known system classes";
                root.field("metadata.name").forbidden(errors, detail);
            }
        } else if root.field("value").int().unwrap_or(0) > HIGHEST_OF_USERS {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
            root.field("value").forbidden(errors, &detail);
        }
        root.field("preemptionPolicy").one_of(errors, &["Never", "PreemptLowerPriority"]);
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

fn is_system(object: &Value) -> bool {
    let global = child(object, "globalDefault") == &Value::Bool(true);
    SYSTEM.contains(&(object::name(object), cells::int(object, "value"))) && !global
}
