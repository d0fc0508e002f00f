//! VolumeAttachment.

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::{core_persistentvolume, resource_immutable as immutable};
use crate::{Kind, cells};

pub(crate) struct VolumeAttachment;

impl Kind for VolumeAttachment {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "volumeattachments")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "x"},
               "spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_driver_name(&spec.field("attacher"), errors);
        let source = spec.field("source");
        let (name, inline) = (source.field("persistentVolumeName"), source.field("inlineVolumeSpec"));
        match (name.present(), inline.present()) {
            (false, false) => {
                source.required(errors, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
            }
            (true, true) => {
                source.forbidden(errors, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
            }
            (true, false) if name.is_empty() => name.required(errors, "must specify non empty persistentVolumeName"),
            (true, false) => {}
            (false, true) => core_persistentvolume::validate_inline(&inline, errors),
        }
        spec.field("nodeName").format(errors, names::dns1123_subdomain);
        validate_status(&root.field("status"), errors);
        if name.present() {
            name.format(errors, names::dns1123_subdomain);
        }
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_status(&At::root(object).field("status"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        immutable::validate("VolumeAttachmentSpec", &root.field("spec"), child(old, "spec"), errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.attacher"),
            cells::text(object, "spec.source.persistentVolumeName"),
            cells::text(object, "spec.nodeName"),
            (child(object, "status.attached") == &Value::Bool(true)).into(),
            cells::age(object, now),
        ])
    }
}

/// Bytes of what a driver says of an attached volume, and of what went wrong.
const MAX_METADATA: usize = 256 * 1024;
const MAX_MESSAGE: usize = 1024;

fn validate_status(status: &At<'_>, errors: &mut ErrorList) {
    let metadata = status.field("attachmentMetadata");
    let bytes: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if bytes > MAX_METADATA {
        metadata.too_long(errors, MAX_METADATA);
    }
    for field in ["attachError", "detachError"] {
        let error = status.field(field);
        let (message, code) = (error.field("message"), error.field("errorCode"));
        if message.str().len() > MAX_MESSAGE {
            // Upstream says the other bound.
            message.too_long(errors, MAX_METADATA);
        }
        code.at_least(errors, 0, "must be between 0 and 2147483647, inclusive");
    }
}
