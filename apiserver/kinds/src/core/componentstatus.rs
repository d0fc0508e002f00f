//! ComponentStatus: answered, never stored.

use api_machinery::{GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::{Kind, cells};

pub(crate) struct ComponentStatus;

impl Kind for ComponentStatus {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "componentstatuses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": "scheduler"},
               "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn cells(&self, object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        let conditions = object.get("conditions").and_then(Value::as_array);
        let healthy = conditions.into_iter().flatten().find(|one| object::str_at(one, "type") == "Healthy");
        let [status, message, error] = healthy.map_or(["Unknown", "", ""], |one| {
            let status = if object::str_at(one, "status") == "True" { "Healthy" } else { "Unhealthy" };
            [status, object::str_at(one, "message"), object::str_at(one, "error")]
        });
        Some(vec![cells::name(object), status.into(), message.into(), error.into()])
    }
}
