//! PersistentVolume.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty, same};
use crate::list::core_persistentvolumeclaim::{ACCESS_MODES, validate_access_modes};
use crate::list::{core_affinity as affinity, core_volume as volume};
use crate::{Kind, cells, formats};

/// In the order upstream looks at them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
    "flexVolume",
];

pub(crate) struct PersistentVolume;

impl Kind for PersistentVolume {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "persistentvolumes")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "x"},
               "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"phase": "Pending"});
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        validate_spec(&root.field("spec"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
        if SOURCES.iter().any(|source| !same(child(spec.value, source), child(old_spec, source))) {
            let place = spec.field("persistentvolumesource");
            place.forbidden(errors, "spec.persistentvolumesource is immutable after creation");
        }
        let mode = At::named(child(spec.value, "volumeMode"), "volumeMode");
        mode.unchanged(errors, child(old_spec, "volumeMode"));
        let old_affinity = child(old_spec, "nodeAffinity");
        let affinity = spec.field("nodeAffinity");
        if !is_empty(old_affinity) && !same(affinity.value, old_affinity) {
            affinity.invalid(errors, IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let claim = child(object, "spec.claimRef");
        let claim = match claim.is_object() {
            true => format!("{}/{}", object::str_at(claim, "namespace"), object::str_at(claim, "name")),
            false => String::new(),
        };
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.capacity.storage"),
            cells::access_modes(child(object, "spec.accessModes")).into(),
            cells::text(object, "spec.persistentVolumeReclaimPolicy"),
            phase(object),
            claim.into(),
            class(object),
            cells::text_or(object, "spec.volumeAttributesClassName", "<unset>"),
            cells::text(object, "status.reason"),
            cells::age(object, now),
            cells::text_or(object, "spec.volumeMode", "<unset>"),
        ])
    }
}

/// `Terminating` while it waits for its finalizers. Of volumes and claims.
pub(crate) fn phase(object: &Value) -> Value {
    match object::deletion_timestamp(object) {
        Some(_) => "Terminating".into(),
        None => cells::text(object, "status.phase"),
    }
}

/// The class, or the annotation it was before. Of volumes and claims.
pub(crate) fn class(object: &Value) -> Value {
    match object::annotation(object, "volume.beta.kubernetes.io/storage-class") {
        Some(class) => class.into(),
        None => cells::text(object, "spec.storageClassName"),
    }
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let modes = spec.field("accessModes");
    if modes.is_empty() {
        modes.required(errors, "");
    }
    for mode in modes.items() {
        let place = modes.with(mode.value);
        place.one_of(errors, &ACCESS_MODES);
    }
    validate_access_modes(&modes, errors);
    validate_capacity(&spec.field("capacity"), errors);
    validate_sources(spec, errors);
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    reclaim.one_of(errors, &["Delete", "Recycle", "Retain"]);
    if reclaim.str() == "Recycle" && object::str_at(spec.value, "hostPath.path") == "/" {
        reclaim.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    spec.field("storageClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("volumeMode").one_of(errors, &["Block", "Filesystem"]);
    let required = spec.field("nodeAffinity.required");
    if required.present() {
        affinity::validate_node_selector(&required, errors);
    } else if spec.field("local").present() {
        let place = spec.field("nodeAffinity");
        place.required(errors, "Local volume requires node affinity");
    }
}

/// Exactly `storage`.
fn validate_capacity(capacity: &At<'_>, errors: &mut ErrorList) {
    if capacity.is_empty() {
        capacity.required(errors, "");
    }
    if capacity.key("storage").value.is_null() || capacity.value.as_object().is_some_and(|map| map.len() > 1) {
        capacity.unsupported(errors, &["storage"]);
    }
    for (_, amount) in capacity.entries() {
        formats::quantity_not_negative(&amount, errors);
        if formats::quantity(&amount).is_some_and(|amount| amount.nano == 0) {
            amount.invalid(errors, "must be greater than zero");
        }
    }
}

fn validate_sources(spec: &At<'_>, errors: &mut ErrorList) {
    let mut found = 0;
    for kind in SOURCES {
        let source = spec.field(kind);
        if !source.present() {
            continue;
        }
        found += 1;
        if found > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
        } else {
            volume::validate_persistent(kind, &source, errors);
        }
    }
    if found == 0 {
        spec.required(errors, "must specify a volume type");
    }
}
