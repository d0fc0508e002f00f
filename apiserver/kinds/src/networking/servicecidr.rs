//! ServiceCIDR.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells, formats, meta};

pub(crate) struct ServiceCIDR;

impl Kind for ServiceCIDR {
    fn resource(&self) -> GroupResource {
        GroupResource::new("networking.k8s.io", "servicecidrs")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "x"},
               "spec": {"cidrs": ["10.200.0.0/24"]}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// Nothing has to be prepared for a range, so that it is ready at once; upstream's controller says the same a
    /// moment later.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
            "lastTransitionTime": child(object, "metadata.creationTimestamp"),
        });
        object["status"] = json!({"conditions": [ready]});
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            let root = At::root(object);
            validate_cidrs(&root.field("spec.cidrs"), errors);
        }
    }
    /// A second family may be added; what is there stays.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let cidrs = root.field("spec.cidrs");
        let before = cells::list(child(old, "spec"), "cidrs");
        match (before.len(), cidrs.list().len()) {
            (held, wanted) if held == wanted => validate_kept(&cidrs, before, errors),
            (1, 2) => {
                validate_kept(&cidrs, before, errors);
                validate_cidrs(&cidrs, errors);
            }
            _ => cidrs.invalid(errors, IMMUTABLE),
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::joined(object, "spec.cidrs", ",").into(), cells::age(object, now)])
    }
}

/// The most there can be: one of each family.
const MAX_CIDRS: usize = 2;

fn validate_cidrs(cidrs: &At<'_>, errors: &mut ErrorList) {
    if cidrs.is_empty() {
        return cidrs.required(errors, "at least one CIDR required");
    }
    if cidrs.list().len() > MAX_CIDRS {
        // Upstream shows the whole spec, with the names its fields have in Go.
        let shown = json!({"CIDRs": cidrs.value});
        return errors.invalid(&cidrs.path(), &shown, "may only hold up to 2 values");
    }
    for cidr in cidrs.items() {
        cidr.format(errors, formats::canonical_cidr);
    }
    let parsed: Vec<_> = cidrs.list().iter().filter_map(|one| formats::parse_cidr(one.as_str()?)).collect();
    if let [first, second] = parsed[..]
        && first.0.is_ipv4() == second.0.is_ipv4()
    {
        cidrs.invalid(
            errors,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        );
    }
}

/// The first of them are those of before.
fn validate_kept(cidrs: &At<'_>, before: &[Value], errors: &mut ErrorList) {
    for (cidr, before) in cidrs.items().zip(before) {
        if cidr.value != before {
            cidr.invalid(errors, IMMUTABLE);
        }
    }
}

/// Puts back what a status update may not change, of the kinds whose metadata it may not change either.
pub(crate) fn keep_all_but_status(object: &mut Value, old: &Value) {
    crate::keep_field(object, old, "spec");
    for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
        crate::keep_field(&mut object["metadata"], &old["metadata"], field);
    }
}
