//! PersistentVolumeClaim.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, IMMUTABLE, child, is_empty, same};
use crate::list::core_persistentvolume::{class, phase};
use crate::list::core_resource_name as resource_name;
use crate::{Kind, cells, formats, selectors};

pub(crate) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(crate) struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "persistentvolumeclaims")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// `dataSource` and `dataSourceRef` say the same, where one kind allows it.
    fn default(&self, object: &mut Value) {
        let (source, reference) = (child(object, "spec.dataSource"), child(object, "spec.dataSourceRef"));
        let (source, reference) = (source.clone(), reference.clone());
        if source.is_object() && reference.is_null() {
            object["spec"]["dataSourceRef"] = source;
        } else if reference.is_object() && source.is_null() && is_empty(child(&reference, "namespace")) {
            object["spec"]["dataSource"] = reference;
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"phase": "Pending"});
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        validate_spec(&root.field("spec"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec_update(&At::root(object), old, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_status(&At::root(object), errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let bound = !object::str_at(object, "spec.volumeName").is_empty();
        let modes = if bound { cells::access_modes(child(object, "status.accessModes")) } else { String::new() };
        let capacity = if bound { cells::text(object, "status.capacity.storage") } else { "".into() };
        Some(vec![
            cells::name(object),
            phase(object),
            cells::text(object, "spec.volumeName"),
            capacity,
            modes.into(),
            class(object),
            cells::text_or(object, "spec.volumeAttributesClassName", "<unset>"),
            cells::age(object, now),
            cells::text_or(object, "spec.volumeMode", "<unset>"),
        ])
    }
}

/// Of volumes and claims: known ones, and one pod's mode stands alone.
pub(crate) fn validate_access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    const POD: &str = "ReadWriteOncePod";
    for mode in modes.items() {
        modes.with(mode.value).exactly_one_of(errors, &ACCESS_MODES);
    }
    let known = |mode: &&Value| mode.as_str().is_some_and(|mode| ACCESS_MODES.contains(&mode));
    let (pods, others): (Vec<&Value>, Vec<&Value>) =
        modes.list().iter().filter(known).partition(|mode| mode.as_str() == Some(POD));
    if !pods.is_empty() && !others.is_empty() {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Of claims, templates in StatefulSets and ephemeral volumes.
pub(crate) fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let modes = spec.field("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    selectors::label_selector(&spec.field("selector"), errors);
    validate_access_modes(&modes, errors);
    validate_storage(spec, errors);
    spec.field("storageClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("volumeMode").one_of_if_present(errors, &["Block", "Filesystem"]);
    validate_source(&spec.field("dataSource"), errors);
    let reference = spec.field("dataSourceRef");
    validate_source(&reference, errors);
    reference.field("namespace").format_if_set(errors, names::dns1123_label);
    validate_sources_agree(spec, errors);
    spec.field("volumeAttributesClassName").format_if_set(errors, names::dns1123_subdomain);
}

/// The path is `spec.resources[storage]`.
fn validate_storage(spec: &At<'_>, errors: &mut ErrorList) {
    let resources = spec.field("resources");
    let amount = child(resources.value, "requests.storage");
    let place = resources.key("storage").with(amount);
    match formats::quantity(&place) {
        None => place.required(errors, ""),
        Some(amount) if amount.nano <= 0 => place.invalid(errors, ABOVE_ZERO),
        Some(_) => {}
    }
}

fn validate_source(source: &At<'_>, errors: &mut ErrorList) {
    if !source.present() {
        return;
    }
    for field in ["name", "kind"] {
        source.field(field).need(errors);
    }
    let (group, kind) = (source.field("apiGroup"), source.field("kind"));
    if group.is_empty() && kind.str() != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(&source.path(), &Value::from(kind.str()), detail);
    }
    group.format_if_set(errors, names::dns1123_subdomain);
}

/// Upstream shows the path as the bad value.
fn validate_sources_agree(spec: &At<'_>, errors: &mut ErrorList) {
    let (source, reference) = (spec.field("dataSource"), spec.field("dataSourceRef"));
    if !source.present() || !reference.present() {
        return;
    }
    let agree =
        ["apiGroup", "kind", "name"].iter().all(|field| same(source.field(field).value, reference.field(field).value));
    let detail = match reference.field("namespace").is_empty() {
        false => "may not be specified when dataSourceRef.namespace is specified",
        true if !agree => "must match dataSourceRef",
        true => return,
    };
    errors.invalid(&spec.path(), &Value::Object(serde_json::Map::new()), detail);
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim's spec stays, but a bound one may grow, and an unbound one may be bound or get its class.
fn validate_spec_update(root: &At<'_>, old: &Value, errors: &mut ErrorList) {
    const DETAIL: &str =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
    let mut masked = spec.value.clone();
    if is_empty(child(old_spec, "volumeName")) {
        crate::keep_field(&mut masked, old_spec, "volumeName");
    }
    mask_class(root, old, &mut masked, errors);
    let bound = object::str_at(root.value, "status.phase") == "Bound";
    if bound {
        crate::keep_field(&mut masked, old_spec, "volumeAttributesClassName");
        if masked["resources"]["requests"].is_object() {
            crate::keep_field(&mut masked["resources"]["requests"], child(old_spec, "resources.requests"), "storage");
        }
    }
    if !same(&masked, old_spec) {
        spec.forbidden(errors, DETAIL);
    }
    validate_size(&spec, old, errors);
    At::named(child(spec.value, "volumeMode"), "volumeMode").unchanged(errors, child(old_spec, "volumeMode"));
    let class = spec.field("volumeAttributesClassName");
    let current = child(old, "status.currentVolumeAttributesClassName");
    if !current.is_null() && class.value != child(old_spec, "volumeAttributesClassName") && class.is_empty() {
        let to = if class.present() { "empty string" } else { "nil" };
        let detail = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        class.forbidden(errors, &detail);
    }
}

/// The class may move from its annotation to its field, and be set where there was none.
fn mask_class(root: &At<'_>, old: &Value, masked: &mut Value, errors: &mut ErrorList) {
    let note = |object: &'_ Value| object::annotation(object, CLASS_ANNOTATION).map(str::to_owned);
    let (old_note, new_note) = (note(old), note(root.value));
    let new = child(root.value, "spec.storageClassName").as_str();
    let was_unset = child(old, "spec.storageClassName").is_null();
    let moved = old_note.is_some() && was_unset && new == old_note.as_deref();
    if moved && (new_note.is_none() || new_note == old_note) {
        return crate::keep_field(masked, &Value::Null, "storageClassName");
    }
    if old_note != new_note {
        let path = api_machinery::Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.invalid(&path, &Value::from(new_note.unwrap_or_else(String::new)), IMMUTABLE);
    }
    if new.is_some() && was_unset && old_note.as_deref().is_none_or(|note| Some(note) == new) {
        crate::keep_field(masked, &Value::Null, "storageClassName");
    }
}

/// It may shrink again while it has not grown yet.
fn validate_size(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let at = spec.field("resources.requests.storage");
    let nano = |amount: &Value| formats::quantity(&At::root(amount)).map_or(0, |amount| amount.nano);
    let (new, before) = (nano(at.value), nano(child(old, "spec.resources.requests.storage")));
    if new < before && new <= nano(child(old, "status.capacity.storage")) {
        at.forbidden(errors, "field can not be less than status.capacity");
    }
}

/// A resource's name in the maps of the status: `storage`, or one with a prefix of somebody else's.
fn validate_status_key(place: &At<'_>, name: &str, errors: &mut ErrorList) {
    let before = errors.len();
    for message in names::qualified_name(name) {
        errors.invalid(&place.path(), &Value::from(name), &message);
    }
    if errors.len() == before && resource_name::is_native(name) && name != "storage" {
        errors.not_supported(&place.path(), &Value::from(name), &["storage"]);
    }
}

fn validate_status(root: &At<'_>, errors: &mut ErrorList) {
    const STATES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let basic = |at: &At<'_>, errors: &mut ErrorList| {
        if let Some(amount) = formats::quantity(at).filter(|amount| amount.value() < 0) {
            errors.invalid(&at.path(), &amount.value().into(), "must be a valid resource quantity");
        }
    };
    for (_, at) in root.field("status.capacity").entries() {
        basic(&at, errors);
    }
    let states = root.field("status.allocatedResourceStatuses");
    for (name, state) in states.entries() {
        validate_status_key(&states, name, errors);
        if !STATES.contains(&state.str()) {
            errors.not_supported(&states.path(), &Value::from(name), &STATES);
        }
    }
    let allocated = root.field("status.allocatedResources");
    for (name, at) in allocated.entries() {
        let before = errors.len();
        validate_status_key(&allocated, name, errors);
        if errors.len() == before {
            basic(&at, errors);
        }
    }
}
