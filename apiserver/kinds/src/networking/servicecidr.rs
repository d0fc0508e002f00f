//! ServiceCIDR.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, same};
use crate::{Kind, cells, formats};

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
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let cidrs = root.field("spec.cidrs");
        if cidrs.is_empty() {
            return cidrs.required(errors, "at least one CIDR required");
        }
        if cidrs.list().len() > 2 {
            return cidrs.too_many(errors, 2);
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
        for cidr in cidrs.items() {
            cidr.format(errors, formats::canonical_cidr);
        }
    }
    /// A second family may be added; what is there stays.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let cidrs = root.field("spec.cidrs");
        let old = cells::list(child(old, "spec"), "cidrs");
        let kept = cidrs.list().len() >= old.len() && old.iter().zip(cidrs.list()).all(|(old, new)| same(old, new));
        if !kept {
            cidrs.invalid(errors, IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::joined(object, "spec.cidrs", ",").into(), cells::age(object, now)])
    }
}
