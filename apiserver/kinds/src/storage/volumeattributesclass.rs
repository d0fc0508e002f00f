//! VolumeAttributesClass.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::list::storage_storageclass::{validate_parameters, validate_provisioner};
use crate::{Kind, cells, meta};

pub(crate) struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "volumeattributesclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "x"},
               "driverName": "d.example.com", "parameters": {"a": "b"}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// Of an update, first what may not change.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_class(object, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        if object::str_at(object, "driverName") != object::str_at(old, "driverName") {
            root.field("driverName").forbidden(errors, "updates to driverName are forbidden.");
        }
        if !same(child(object, "parameters"), child(old, "parameters")) {
            root.field("parameters").forbidden(errors, "updates to parameters are forbidden.");
        }
        validate_class(object, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::text(object, "driverName"), cells::age(object, now)])
    }
}

fn validate_class(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    validate_provisioner(&root.field("driverName"), errors);
    let parameters = root.field("parameters");
    validate_parameters(&parameters, errors);
    if parameters.is_empty() {
        parameters.required(errors, "must contain at least one key/value pair");
    }
}
