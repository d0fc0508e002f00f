//! ResourceSlice.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::{core_affinity as affinity, resource_slice_devices as slice_devices};
use crate::{Kind, cells};

pub(crate) struct ResourceSlice;

/// Bytes of the name of a pool.
const MAX_POOL: usize = 253;

impl Kind for ResourceSlice {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourceslices")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "x"},
               "spec": {"driver": "d.example.com", "nodeName": "n",
                        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d0"}]}})
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_driver_name(&spec.field("driver"), errors);
        validate_pool(&spec.field("pool"), errors);
        validate_nodes(&spec, errors);
        if spec.field("sharedCounters").present() && spec.field("devices").present() {
            let shown = Value::from("");
            errors.invalid(&spec.path(), &shown, "only one of `sharedCounters` or `devices` is allowed");
        }
        slice_devices::validate(&spec, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        for field in ["pool.name", "driver", "nodeName"] {
            let at = spec.field(field);
            at.unchanged(errors, child(child(old, "spec"), field));
        }
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        matches!(field, "spec.nodeName" | "spec.driver").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let pool = cells::text(object, "spec.pool.name");
        let (node, driver) = (cells::text_or(object, "spec.nodeName", "<unset>"), cells::text(object, "spec.driver"));
        Some(vec![cells::name(object), node, driver, pool, cells::age(object, now)])
    }
}

fn validate_pool(pool: &At<'_>, errors: &mut ErrorList) {
    let name = pool.field("name");
    if name.need(errors) {
        if name.str().len() > MAX_POOL {
            name.too_long(errors, MAX_POOL);
        }
        for part in name.str().split('/') {
            for message in names::dns1123_subdomain(part) {
                errors.invalid(&name.path(), &Value::from(part), &message);
            }
        }
    }
    let count = pool.field("resourceSliceCount");
    if count.int().unwrap_or(0) <= 0 {
        errors.invalid(&count.path(), &Value::from(count.int().unwrap_or(0)), ABOVE_ZERO);
    }
    pool.field("generation").at_least(errors, 0, "must be greater than or equal to zero");
}

/// Where the devices can be used: said in one of four ways.
fn validate_nodes(spec: &At<'_>, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    let (node, selector) = (spec.field("nodeName"), spec.field("nodeSelector"));
    if !node.is_empty() {
        set.push("`nodeName`");
        node.format(errors, names::dns1123_subdomain);
    } else if node.present() {
        node.invalid(errors, "must be either unset or set to a non-empty string");
    }
    if selector.present() {
        set.push("`nodeSelector`");
        affinity::validate_node_selector(&selector, errors);
        let terms = selector.field("nodeSelectorTerms");
        if terms.list().len() != 1 {
            terms.invalid(errors, "must have exactly one node selector term");
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        let flag = spec.field(field);
        if flag.flag() {
            set.push(shown);
        } else if flag.present() {
            flag.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => spec.required(errors, ONE),
        1 => {}
        _ => {
            let shown = Value::from(format!("{{{}}}", set.join(", ")));
            errors.invalid(&spec.path(), &shown, &format!("{ONE}, but multiple fields are set"));
        }
    }
}
