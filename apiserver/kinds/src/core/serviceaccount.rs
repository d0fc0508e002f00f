//! ServiceAccount.

use api_machinery::{GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::{Kind, cells};

pub(crate) struct ServiceAccount;

impl Kind for ServiceAccount {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "serviceaccounts")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x", "namespace": "default"}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}
