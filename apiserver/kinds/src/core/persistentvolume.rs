//! PersistentVolume.

use api_machinery::{ErrorList, GroupResource, Path, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child};
use crate::list::core_persistentvolumeclaim::validate_access_modes;
use crate::list::core_volume::ONE_ONLY;
use crate::list::{
    core_affinity as node_selector, core_persistentvolume_update as update, core_persistentvolume_warnings as warnings,
    core_volume_source as volume,
};
use crate::{Kind, cells, formats, meta};

/// In the order upstream looks at them, with the name the error of one too many gives it. A flex volume is taken
/// beside another.
const SOURCES: [(&str, &str); 22] = [
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", ""),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
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
    /// A volume is pending since it was made.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let since = object::str_at(object, "metadata.creationTimestamp").to_owned();
        object["status"] = json!({"phase": "Pending"});
        if !since.is_empty() {
            object["status"]["lastPhaseTransitionTime"] = since.into();
        }
    }
    fn stamp(&self, object: &mut Value, old: &Value, now: Timestamp) {
        update::stamp(object, old, now);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_whole(self, object, errors);
        validate_mount_options(object, errors);
    }
    /// Upstream looks at all of it twice.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_whole(self, object, errors);
        update::validate(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings::of(object)
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

fn validate_whole(kind: &dyn Kind, object: &Value, errors: &mut ErrorList) {
    meta::validate_again(kind, object, false, errors);
    let root = At::root(object);
    validate_spec(&root.field("spec"), object::name(object), errors);
}

/// Mount options of old are an annotation, of sources that are mounted with some.
fn validate_mount_options(object: &Value, errors: &mut ErrorList) {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
    const SOURCES: [&str; 13] = [
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    let spec = child(object, "spec");
    if object::annotation(object, ANNOTATION).is_some() && SOURCES.iter().all(|source| child(spec, source).is_null()) {
        let path = Path::new("metadata").child("annotations").child(ANNOTATION);
        errors.forbidden(&path, "may not specify mount options for this volume type");
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

fn validate_spec(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let modes = spec.field("accessModes");
    modes.need(errors);
    validate_access_modes(&modes, errors);
    validate_capacity(&spec.field("capacity"), errors);
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    reclaim.one_of(errors, &["Delete", "Recycle", "Retain"]);
    let bound_to_nodes = validate_node_affinity(&spec.field("nodeAffinity"), errors);
    validate_sources(spec, name, bound_to_nodes, errors);
    if reclaim.str() == "Recycle" && is_root(object::str_at(spec.value, "hostPath.path")) {
        reclaim.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    spec.field("storageClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("volumeMode").one_of_if_present(errors, &["Block", "Filesystem"]);
    validate_attributes_class(spec, errors);
}

/// The spec of a volume that an attachment holds itself, made of what a pod names: a CSI one, and nothing of what makes
/// a volume be claimed and bound.
pub(crate) fn validate_inline(spec: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "may not be specified in the context of inline volumes";
    let forbid = |field: &str, errors: &mut ErrorList| {
        let at = spec.field(field);
        if !at.is_empty() {
            at.forbidden(errors, DETAIL);
        }
    };
    forbid("claimRef", errors);
    forbid("capacity", errors);
    let csi = spec.field("csi");
    if !csi.present() {
        csi.required(errors, "has to be specified in the context of inline volumes");
    }
    let modes = spec.field("accessModes");
    modes.need(errors);
    validate_access_modes(&modes, errors);
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    if !matches!(reclaim.str(), "" | "Retain") {
        reclaim.forbidden(errors, "may only be Retain in the context of inline volumes");
    }
    forbid("nodeAffinity", errors);
    validate_sources(spec, "", false, errors);
    forbid("storageClassName", errors);
    let mode = spec.field("volumeMode");
    if mode.present() && mode.str() != "Filesystem" {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        mode.forbidden(errors, detail);
    }
}

fn is_root(path: &str) -> bool {
    let mut depth = 0usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

/// Answers whether the volume says on which nodes it is.
fn validate_node_affinity(affinity: &At<'_>, errors: &mut ErrorList) -> bool {
    if !affinity.present() {
        return false;
    }
    let required = affinity.field("required");
    if required.present() {
        node_selector::validate_node_selector(&required, errors);
    } else {
        required.required(errors, "must specify required node constraints");
    }
    true
}

fn validate_attributes_class(spec: &At<'_>, errors: &mut ErrorList) {
    let class = spec.field("volumeAttributesClassName");
    if !class.present() {
        return;
    }
    if class.is_empty() {
        class.required(errors, "an empty string is disallowed");
    } else {
        class.format(errors, names::dns1123_subdomain);
    }
    let csi = spec.field("csi");
    if !csi.present() {
        csi.required(errors, "has to be specified when using volumeAttributesClassName");
    }
}

/// Exactly `storage`.
fn validate_capacity(capacity: &At<'_>, errors: &mut ErrorList) {
    capacity.need(errors);
    if capacity.key("storage").value.is_null() || capacity.value.as_object().is_some_and(|map| map.len() > 1) {
        errors.not_supported(&capacity.path(), capacity.value, &["storage"]);
    }
    for (_, at) in capacity.entries() {
        let Some(amount) = formats::quantity(&at) else { continue };
        if amount.value() < 0 {
            errors.invalid(&at.path(), &amount.value().into(), "must be a valid resource quantity");
        }
        if amount.nano <= 0 {
            at.invalid(errors, ABOVE_ZERO);
        }
    }
}

fn validate_sources(spec: &At<'_>, name: &str, bound_to_nodes: bool, errors: &mut ErrorList) {
    let mut found = 0;
    for (kind, called) in SOURCES {
        let source = spec.field(kind);
        if !source.present() {
            continue;
        }
        found += 1;
        if found > 1 && !called.is_empty() {
            spec.field(called).forbidden(errors, ONE_ONLY);
            continue;
        }
        volume::validate(kind, volume::Of::Volume, &source, errors);
        if kind == "iscsi" {
            let place = source.field("targetportal").with(child(source.value, "targetPortal"));
            volume::validate_initiator_length(&place, name, &source, errors);
        } else if kind == "local" && !bound_to_nodes {
            spec.field("nodeAffinity").required(errors, "Local volume requires node affinity");
        }
    }
    if found == 0 {
        spec.required(errors, "must specify a volume type");
    }
}
