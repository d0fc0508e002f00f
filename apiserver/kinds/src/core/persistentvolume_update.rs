//! What may change of a PersistentVolume.

use api_machinery::{ErrorList, Value, object, time};
use jiff::Timestamp;

use crate::at::{At, child, is_empty, same};
use crate::list::core_internal_json as internal;

/// The internal type of where a volume is.
const SOURCE: &str = "PersistentVolumeSource";

/// When the phase changes, it changes now, unless the client says when it did.
pub(crate) fn stamp(object: &mut Value, old: &Value, now: Timestamp) {
    let phase = |object: &Value| object::str_at(object, "status.phase").to_owned();
    let (since, before) =
        (child(object, "status.lastPhaseTransitionTime"), child(old, "status.lastPhaseTransitionTime"));
    let (unset, stale) = (since.is_null(), same(since, before));
    let time = match phase(object) == phase(old) {
        true if unset => before.clone(),
        false if unset || stale => time::seconds(now).into(),
        _ => return,
    };
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
        && !time.is_null()
    {
        status.insert("lastPhaseTransitionTime".to_owned(), time);
    }
}

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
    let source = without_new_secret(spec.value, old_spec);
    if !internal::same(SOURCE, &source, old_spec) {
        let place = spec.field("persistentvolumesource");
        let difference = internal::difference(SOURCE, old_spec, &source);
        place.forbidden(errors, &format!("spec.persistentvolumesource is immutable after creation\n{difference}"));
    }
    let mode = At::named(child(spec.value, "volumeMode"), "volumeMode");
    mode.unchanged(errors, child(old_spec, "volumeMode"));
    let old_affinity = child(old_spec, "nodeAffinity");
    let affinity = At::named(child(spec.value, "nodeAffinity"), "nodeAffinity");
    if !is_empty(old_affinity) && !same(&with_stable_labels(affinity.value, old_affinity), old_affinity) {
        let shown = internal::shown("VolumeNodeAffinity", affinity.value);
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.invalid_printed(&affinity.path(), &shown, detail);
    }
    let class = spec.field("volumeAttributesClassName");
    if !class.present() && !child(old_spec, "volumeAttributesClassName").is_null() {
        class.forbidden(errors, "update from non-nil value to nil is forbidden");
    }
}

/// A driver may be told the secret for growing later.
fn without_new_secret(new: &Value, old: &Value) -> Value {
    const SECRET: &str = "controllerExpandSecretRef";
    let (mut masked, old) = (new.clone(), child(old, "csi"));
    if old.is_object()
        && child(old, SECRET).is_null()
        && let Some(csi) = masked.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(SECRET);
    }
    masked
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
                // Upstream takes no label as the name of today of one without a beta name.
                let stable = BETA_LABELS.iter().find(|(beta, _)| before == beta).map_or("", |(_, stable)| *stable);
                let renamed = name == "key" && value == stable;
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
