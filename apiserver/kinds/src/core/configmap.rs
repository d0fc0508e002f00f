//! ConfigMap.

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::{Kind, cells, formats, meta};

/// `data` and `binaryData` together hold so many bytes.
const MAX_BYTES: usize = 1024 * 1024;

pub(crate) struct ConfigMap;

impl Kind for ConfigMap {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "configmaps")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"},
               "data": {"key": "value"}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_data(object, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        forbid_changes_when_immutable(object, old, &["data", "binaryData"], errors);
        meta::validate_again(self, object, true, errors);
        validate_data(object, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let count = cells::len(object, "data") + cells::len(object, "binaryData");
        Some(vec![cells::name(object), count.into(), cells::age(object, now)])
    }
}

fn validate_data(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (data, binary) = (root.field("data"), root.field("binaryData"));
    let mut bytes = 0;
    for (key, value) in data.entries() {
        validate_key(&data, key, errors);
        if binary.value.get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.invalid(&data.key(key).path(), &Value::from(key), detail);
        }
        bytes += value.str().len();
    }
    for (key, value) in binary.entries() {
        validate_key(&binary, key, errors);
        bytes += formats::base64_len(value.str());
    }
    if bytes > MAX_BYTES {
        errors.too_long(&api_machinery::Path::new("[]"), MAX_BYTES);
    }
}

fn validate_key(map: &At<'_>, key: &str, errors: &mut ErrorList) {
    for message in names::config_map_key(key) {
        errors.invalid(&map.key(key).path(), &Value::from(key), &message);
    }
}

/// Of ConfigMaps and Secrets.
pub(crate) fn forbid_changes_when_immutable(object: &Value, old: &Value, fields: &[&str], errors: &mut ErrorList) {
    if child(old, "immutable") != &Value::Bool(true) {
        return;
    }
    let root = At::root(object);
    let immutable = root.field("immutable");
    if !immutable.flag() {
        immutable.forbidden(errors, "field is immutable when `immutable` is set");
    }
    for field in fields {
        let at = root.field(field);
        // To upstream an empty map is another one than none.
        if at.value != child(old, field) {
            at.forbidden(errors, "field is immutable when `immutable` is set");
        }
    }
}
