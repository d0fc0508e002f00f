//! ResourceClaim.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{
    resource_claim_spec as claim_spec, resource_claim_status as claim_status, resource_immutable as immutable,
};
use crate::{Kind, cells, keep_field, meta};

pub(crate) struct ResourceClaim;

impl Kind for ResourceClaim {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourceclaims")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "dc"}}]}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            claim_spec::default(spec);
        }
    }
    /// Of an update is only said that the spec does not change.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            let root = At::root(object);
            claim_spec::validate(&root.field("spec"), errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        immutable::validate("ResourceClaimSpec", &root.field("spec"), child(old, "spec"), errors);
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_field(object, old, "spec");
        claim_status::drop_deallocated(object, old);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        claim_status::validate(object, old, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let mut states = Vec::new();
        if object::deletion_timestamp(object).is_some() {
            states.push("deleted");
        }
        if child(object, "status.allocation").is_object() {
            states.push("allocated");
        } else if object::deletion_timestamp(object).is_none() {
            states.push("pending");
        }
        if !cells::list(object, "status.reservedFor").is_empty() {
            states.push("reserved");
        }
        Some(vec![cells::name(object), states.join(",").into(), cells::age(object, now)])
    }
}
