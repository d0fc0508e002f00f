//! DeviceClass.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::resource_claim_spec as claim_spec;
use crate::{Kind, cells};

pub(crate) struct DeviceClass;

const MAX_CONFIGS: usize = 32;

impl Kind for DeviceClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "deviceclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "x"},
               "spec": {"selectors": [{"cel": {"expression": "device.driver == \"d.example.com\""}}]}})
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        claim_spec::validate_selectors(&root.field("spec.selectors"), errors);
        let configs = root.field("spec.config");
        if configs.list().len() > MAX_CONFIGS {
            return configs.too_many(errors, MAX_CONFIGS);
        }
        for config in configs.items() {
            claim_spec::validate_opaque(&config, errors);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}
