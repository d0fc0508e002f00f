//! StorageClass.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::{Kind, cells};

pub(crate) struct StorageClass;

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;
const DEFAULT_MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Kind for StorageClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "storageclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "x"},
               "provisioner": "example.com/p"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let provisioner = root.field("provisioner");
        if provisioner.need(errors) {
            for message in names::qualified_name(&provisioner.str().to_lowercase()) {
                provisioner.invalid(errors, &message);
            }
        }
        validate_parameters(&root.field("parameters"), errors);
        root.field("reclaimPolicy").one_of(errors, &["Delete", "Retain"]);
        root.field("volumeBindingMode").need_one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let unchanged = |field: &str| crate::at::same(child(object, field), child(old, field));
        let parameters = root.field("parameters");
        if !unchanged("parameters") {
            parameters.invalid(errors, "updates to parameters are forbidden.");
        }
        for field in ["provisioner", "reclaimPolicy"] {
            if !unchanged(field) {
                root.field(field).forbidden(errors, &format!("updates to {field} are forbidden."));
            }
        }
        if !unchanged("volumeBindingMode") {
            root.field("volumeBindingMode").invalid(errors, crate::at::IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let default = DEFAULT_MARKS.iter().any(|mark| object::annotation(object, mark) == Some("true"));
        let name = object::name(object);
        Some(vec![
            if default { format!("{name} (default)").into() } else { name.into() },
            cells::text(object, "provisioner"),
            cells::text_or(object, "reclaimPolicy", "Delete"),
            cells::text_or(object, "volumeBindingMode", "Immediate"),
            (child(object, "allowVolumeExpansion") == &Value::Bool(true)).into(),
            cells::age(object, now),
        ])
    }
}

/// Of StorageClasses and VolumeAttributesClasses.
pub(crate) fn validate_parameters(parameters: &At<'_>, errors: &mut ErrorList) {
    let count = parameters.value.as_object().map_or(0, serde_json::Map::len);
    if count > MAX_PARAMETERS {
        return parameters.too_long(errors, MAX_PARAMETERS);
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.invalid(&parameters.path(), &Value::from(key), "field can not be empty.");
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > MAX_PARAMETER_BYTES {
        parameters.too_long(errors, MAX_PARAMETER_BYTES);
    }
}
