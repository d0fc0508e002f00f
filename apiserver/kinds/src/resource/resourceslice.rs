//! ResourceSlice.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, same};
use crate::list::core_volume::validate_driver_name;
use crate::{Kind, cells};

pub(crate) struct ResourceSlice;

const MAX_DEVICES: usize = 128;
/// Of attributes and capacities together.
const MAX_PROPERTIES: usize = 32;
const MAX_VALUE: usize = 64;
const NODES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];

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
        let set = |field: &str| {
            let value = child(spec.value, field);
            value.is_object() || value == &Value::Bool(true) || value.as_str().is_some_and(|text| !text.is_empty())
        };
        match NODES.iter().filter(|field| set(field)).count() {
            1 => {}
            0 => spec.required(errors, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"),
            _ => spec.invalid(errors, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"),
        }
        spec.field("nodeName").format_if_set(errors, names::dns1123_subdomain);
        validate_devices(&spec.field("devices"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old) = (root.field("spec"), child(old, "spec"));
        for field in ["driver", "nodeName", "nodeSelector", "allNodes"] {
            let at = spec.field(field);
            if !same(at.value, child(old, field)) {
                at.invalid(errors, IMMUTABLE);
            }
        }
        let pool = spec.field("pool.name");
        if pool.str() != object::str_at(old, "pool.name") {
            pool.invalid(errors, IMMUTABLE);
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
        for message in name.str().split('/').flat_map(names::dns1123_subdomain) {
            name.invalid(errors, &message);
        }
    }
    let count = pool.field("resourceSliceCount");
    if count.int().unwrap_or(0) <= 0 {
        errors.invalid(&count.path(), &Value::from(count.int().unwrap_or(0)), crate::at::POSITIVE);
    }
    pool.field("generation").not_negative(errors);
}

fn validate_devices(devices: &At<'_>, errors: &mut ErrorList) {
    if devices.list().len() > MAX_DEVICES {
        return devices.too_many(errors, MAX_DEVICES);
    }
    let mut seen = HashSet::new();
    for device in devices.items() {
        let name = object::str_at(device.value, "name");
        device.field("name").format(errors, names::dns1123_label);
        if seen.contains(&name) {
            device.field("name").duplicate(errors);
        }
        seen.insert(name);
        let (attributes, capacity) = (device.field("attributes"), device.field("capacity"));
        let count = attributes.entries().count() + capacity.entries().count();
        if count > MAX_PROPERTIES {
            let detail = format!("the total number of attributes and capacities must not exceed {MAX_PROPERTIES}");
            errors.invalid(&device.path(), &Value::from(count), &detail);
        }
        for (_, attribute) in attributes.entries() {
            validate_attribute(&attribute, errors);
        }
    }
}

fn validate_attribute(attribute: &At<'_>, errors: &mut ErrorList) {
    let kinds = ["int", "bool", "string", "version"];
    match kinds.iter().filter(|kind| attribute.field(kind).present()).count() {
        1 => {}
        0 => attribute.required(errors, "exactly one value must be specified"),
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
    for kind in ["string", "version"] {
        let at = attribute.field(kind);
        if at.str().len() > MAX_VALUE {
            at.too_long(errors, MAX_VALUE);
        }
    }
}
