//! PersistentVolumeClaim.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{ABOVE_ZERO, At, IMMUTABLE, child, is_empty, same_behind_pointers};
use crate::list::core_persistentvolume::{class, phase};
use crate::list::{core_persistentvolumeclaim_diff as claim_diff, core_resource_name as resource_name};
use crate::{Kind, cells, formats, meta, selectors};

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
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"phase": "Pending"});
        settle_sources(object, &Value::Null);
    }
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        settle_sources(object, child(old, "spec"));
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
        let root = At::root(object);
        validate_spec(&root.field("spec"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec_update(&At::root(object), old, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_status(&At::root(object), errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let mut warnings = Vec::new();
        if object::annotation(object, CLASS_ANNOTATION).is_some() {
            warnings.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute \
                 instead"
            ));
        }
        for list in ["requests", "limits"] {
            let amounts = root.field("spec.resources");
            let amounts = amounts.field(list);
            let at = amounts.key("storage");
            if let Some(amount) = formats::quantity(&at).filter(|amount| amount.milli_value() % 1000 != 0) {
                let path = at.path();
                warnings.push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
            }
        }
        warnings
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

/// `dataSource` and `dataSourceRef` say the same, where one kind allows it. Sources that only the reference may name
/// are ignored in the other field, and so is a namespace, while claims do not reach into other namespaces
/// (CrossNamespaceVolumeDataSource); a claim that has a source keeps it.
fn settle_sources(object: &mut Value, old_spec: &Value) {
    let in_use = |field: &str| !child(old_spec, field).is_null();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let elsewhere = spec.get("dataSourceRef").is_some_and(|one| !is_empty(child(one, "namespace")));
    if elsewhere && !in_use("dataSourceRef") {
        spec.remove("dataSourceRef");
    }
    let is_set = |spec: &Map<String, Value>, field: &str| spec.get(field).is_some_and(|one| !one.is_null());
    if !in_use("dataSource") && !in_use("dataSourceRef") && !is_set(spec, "dataSourceRef") {
        let ignored = spec.get("dataSource").is_some_and(|one| !is_claim_or_snapshot(one));
        if ignored {
            spec.remove("dataSource");
        }
    }
    match (is_set(spec, "dataSource"), is_set(spec, "dataSourceRef")) {
        (true, false) => copy_source(spec, "dataSource", "dataSourceRef"),
        (false, true) if is_empty(child(&spec["dataSourceRef"], "namespace")) => {
            copy_source(spec, "dataSourceRef", "dataSource");
        }
        _ => {}
    }
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    matches!(
        (object::str_at(source, "apiGroup"), object::str_at(source, "kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

fn copy_source(spec: &mut Map<String, Value>, from: &str, to: &str) {
    let mut source = spec[from].clone();
    if let Some(source) = source.as_object_mut() {
        source.remove("namespace");
    }
    spec.insert(to.to_owned(), source);
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
    let agree = source.field("apiGroup").value == reference.field("apiGroup").value
        && ["kind", "name"].iter().all(|field| source.field(field).str() == reference.field(field).str());
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
    let (mut masked, mut before) = (spec.value.clone(), old_spec.clone());
    if is_empty(child(old_spec, "volumeName")) {
        crate::keep_field(&mut before, spec.value, "volumeName");
    }
    mask_class(root, old, &mut masked, errors);
    let bound = object::str_at(root.value, "status.phase") == "Bound";
    if bound {
        crate::keep_field(&mut masked, old_spec, "volumeAttributesClassName");
        if masked["resources"]["requests"].is_object() {
            crate::keep_field(&mut masked["resources"]["requests"], child(old_spec, "resources.requests"), "storage");
        }
    }
    if !same_behind_pointers(&masked, &before) {
        spec.forbidden(errors, &format!("{DETAIL}\n{}", claim_diff::of(&before, &masked)));
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
