//! Lease.

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, POSITIVE};
use crate::{Kind, cells};

pub(crate) struct Lease;

impl Kind for Lease {
    fn resource(&self) -> GroupResource {
        GroupResource::new("coordination.k8s.io", "leases")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"holderIdentity": "h", "leaseDurationSeconds": 10}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("leaseDurationSeconds").at_least(errors, 1, POSITIVE);
        spec.field("leaseTransitions").not_negative(errors);
        let (strategy, preferred) = (spec.field("strategy"), spec.field("preferredHolder"));
        validate_strategy(&strategy, errors);
        if !preferred.is_empty() && strategy.is_empty() {
            preferred.forbidden(errors, "may only be specified if `strategy` is defined");
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::text(object, "spec.holderIdentity"), cells::age(object, now)])
    }
}

/// One that is known, or somebody's own with a prefix. Upstream names it twice.
pub(crate) fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let place = strategy.field("strategy").with(strategy.value);
    if !strategy.present() {
        return;
    }
    if strategy.str().contains('/') {
        place.format(errors, names::qualified_name);
    } else {
        place.exactly_one_of(errors, &["OldestEmulationVersion"]);
    }
}
