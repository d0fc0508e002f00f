//! ResourceClaimTemplate.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, same};
use crate::list::resource_claim_spec as claim_spec;
use crate::{Kind, cells};

pub(crate) struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourceclaimtemplates")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "dc"}}]}}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.pointer_mut("/spec/spec") {
            claim_spec::default(spec);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        claim_spec::validate(&root.field("spec.spec"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        if !same(spec.value, child(old, "spec")) {
            spec.invalid(errors, IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}
