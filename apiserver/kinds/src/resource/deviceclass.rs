//! DeviceClass.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::{core_resource_name as resource_name, resource_claim_spec as claim_spec};
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
        let spec = root.field("spec");
        claim_spec::validate_selectors(&spec.field("selectors"), errors);
        claim_spec::validate_list(&spec.field("config"), MAX_CONFIGS, errors, claim_spec::validate_opaque);
        let name = spec.field("extendedResourceName");
        if name.present() && !resource_name::is_extended(name.str()) {
            name.invalid(errors, "must be a valid extended resource name");
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}
