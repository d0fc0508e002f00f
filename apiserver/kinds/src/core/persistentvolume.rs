//! PersistentVolume.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child, is_empty, same};
use crate::list::core_persistentvolumeclaim::validate_access_modes;
use crate::list::core_volume::ONE_ONLY;
use crate::list::{core_affinity as node_selector, core_volume_source as volume};
use crate::{Kind, cells, formats};

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
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"phase": "Pending"});
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        validate_spec(&root.field("spec"), object::name(object), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
        if SOURCES.iter().any(|(source, _)| !same_source(source, spec.value, old_spec)) {
            let place = spec.field("persistentvolumesource");
            place.forbidden(errors, "spec.persistentvolumesource is immutable after creation");
        }
        let mode = At::named(child(spec.value, "volumeMode"), "volumeMode");
        mode.unchanged(errors, child(old_spec, "volumeMode"));
        let old_affinity = child(old_spec, "nodeAffinity");
        let affinity = At::named(child(spec.value, "nodeAffinity"), "nodeAffinity");
        if !is_empty(old_affinity) && !same(&with_stable_labels(affinity.value, old_affinity), old_affinity) {
            affinity.invalid(errors, "field is immutable, except for updating from beta label to GA");
        }
        let class = spec.field("volumeAttributesClassName");
        if !class.present() && !child(old_spec, "volumeAttributesClassName").is_null() {
            class.forbidden(errors, "update from non-nil value to nil is forbidden");
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

/// A driver may be told the secret for growing later.
fn same_source(source: &str, new: &Value, old: &Value) -> bool {
    let (new, old) = (child(new, source), child(old, source));
    let mut masked = new.clone();
    if source == "csi" && old.is_object() && child(old, "controllerExpandSecretRef").is_null() {
        crate::keep_field(&mut masked, old, "controllerExpandSecretRef");
    }
    same(&masked, old)
}

/// Labels by which nodes were told apart before they had their names of today.
const BETA_LABELS: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The new affinity with the old names of labels, where it only has their names of today instead.
fn with_stable_labels(new: &Value, old: &Value) -> Value {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let field = |(name, value): (&String, &Value)| {
                let before = old.get(name).unwrap_or(&Value::Null);
                let renamed =
                    name == "key" && BETA_LABELS.iter().any(|(beta, stable)| before == beta && value == stable);
                (name.clone(), if renamed { before.clone() } else { with_stable_labels(value, before) })
            };
            new.iter().map(field).collect()
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            new.iter().zip(old).map(|(new, old)| with_stable_labels(new, old)).collect()
        }
        (new, _) => new.clone(),
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
    validate_sources(spec, name, errors);
    if spec.field("local").present() && !is_nothing_but_one(spec) && !bound_to_nodes {
        spec.field("nodeAffinity").required(errors, "Local volume requires node affinity");
    }
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
    validate_sources(spec, "", errors);
    forbid("storageClassName", errors);
    let mode = spec.field("volumeMode");
    if mode.present() && mode.str() != "Filesystem" {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        mode.forbidden(errors, detail);
    }
}

/// Whether another source came first, so that `local` is forbidden and looked at no further.
fn is_nothing_but_one(spec: &At<'_>) -> bool {
    SOURCES.iter().take_while(|(source, _)| *source != "local").any(|(source, _)| spec.field(source).present())
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
        capacity.unsupported(errors, &["storage"]);
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

fn validate_sources(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
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
        }
    }
    if found == 0 {
        spec.required(errors, "must specify a volume type");
    }
}
