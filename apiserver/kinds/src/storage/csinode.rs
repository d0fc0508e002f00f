//! CSINode.

use std::collections::{HashMap, HashSet};

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_immutable as immutable;
use crate::{Kind, cells};

pub(crate) struct CSINode;

const MAX_NODE_ID: usize = 256;

impl Kind for CSINode {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "csinodes")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "x"},
               "spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["k"]}]}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let mut seen = HashSet::new();
        for driver in root.field("spec.drivers").items() {
            validate_driver(&driver, errors);
            let name = object::str_at(driver.value, "name");
            if seen.contains(&name) {
                driver.field("name").duplicate(errors);
            }
            seen.insert(name);
        }
    }
    /// A driver of a node stays what it is while it is there.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let old_drivers = cells::list(child(old, "spec"), "drivers").iter();
        let old_drivers: HashMap<&str, &Value> = old_drivers.map(|one| (object::str_at(one, "name"), one)).collect();
        for driver in root.field("spec.drivers").items() {
            let name = object::str_at(driver.value, "name");
            let before = old_drivers.get(name).copied();
            let mut now = driver.value.clone();
            if let (Some(before), Some(map)) = (before, now.as_object_mut()) {
                map.remove("allocatable");
                let mut before = before.clone();
                if let Some(map) = before.as_object_mut() {
                    map.remove("allocatable");
                }
                immutable::validate("CSINodeDriver", &root.field("spec.drivers").with(&now), &before, errors);
            }
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::len(object, "spec.drivers").into(), cells::age(object, now)])
    }
}

fn validate_driver(driver: &At<'_>, errors: &mut ErrorList) {
    validate_driver_name(&driver.field("name"), errors);
    let id = driver.field("nodeID");
    id.need(errors);
    if id.str().len() > MAX_NODE_ID {
        id.invalid(errors, &format!("must be {MAX_NODE_ID} characters or less"));
    }
    driver.field("allocatable.count").not_negative(errors);
    let mut seen = HashSet::new();
    for key in driver.field("topologyKeys").list() {
        // Upstream names the driver.
        let place = driver.with(key);
        place.need(errors);
        if !seen.insert(key.as_str()) {
            place.duplicate(errors);
        }
        place.format(errors, names::qualified_name);
    }
}
