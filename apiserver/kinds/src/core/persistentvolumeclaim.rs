//! PersistentVolumeClaim.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty, same};
use crate::list::core_persistentvolume::{class, phase};
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
        let root = At::root(object);
        validate_spec_update(&root.field("spec"), old, errors);
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

/// Of volumes and claims: one pod's mode stands alone.
pub(crate) fn validate_access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    let has_pod = modes.list().iter().any(|mode| mode == "ReadWriteOncePod");
    if has_pod && modes.list().len() > 1 {
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
    for mode in modes.items() {
        modes.with(mode.value).one_of(errors, &ACCESS_MODES);
    }
    validate_access_modes(&modes, errors);
    validate_storage(spec, errors);
    spec.field("storageClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("volumeMode").one_of(errors, &["Block", "Filesystem"]);
    spec.field("volumeAttributesClassName").format_if_set(errors, names::dns1123_subdomain);
    for field in ["dataSource", "dataSourceRef"] {
        validate_source(&spec.field(field), errors);
    }
}

/// The path is `spec.resources[storage]`.
fn validate_storage(spec: &At<'_>, errors: &mut ErrorList) {
    let resources = spec.field("resources");
    let amount = child(resources.value, "requests.storage");
    let place = resources.key("storage").with(amount);
    match formats::quantity(&place) {
        None => place.required(errors, ""),
        Some(amount) if amount.nano <= 0 => place.invalid(errors, "must be greater than zero"),
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
    let group = source.field("apiGroup").str();
    if group.is_empty() && source.field("kind").str() != "PersistentVolumeClaim" {
        source.invalid(errors, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
}

/// A claim's spec stays, but a bound one may grow, and an unbound one may be bound or get its class.
fn validate_spec_update(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    const DETAIL: &str =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let old_spec = child(old, "spec");
    let bound = object::str_at(old, "status.phase") == "Bound";
    let free = |field: &str| match field {
        "volumeName" => is_empty(child(old_spec, "volumeName")),
        "storageClassName" => child(old_spec, "storageClassName").is_null(),
        "volumeAttributesClassName" => true,
        "resources" => bound && same(child(spec.value, "resources.limits"), child(old_spec, "resources.limits")),
        _ => false,
    };
    let differs = |one: &Value, other: &Value| {
        one.as_object().into_iter().flatten().any(|(field, value)| !free(field) && !same(value, child(other, field)))
    };
    if differs(spec.value, old_spec) || differs(old_spec, spec.value) {
        return spec.forbidden(errors, DETAIL);
    }
    let requests = spec.field("resources.requests");
    let old_amount = At::root(child(old_spec, "resources.requests.storage"));
    let shrinks = match (formats::quantity(&requests.field("storage")), formats::quantity(&old_amount)) {
        (Some(new), Some(old)) => new.nano < old.nano,
        _ => false,
    };
    if bound && shrinks {
        requests.field("storage").forbidden(errors, "field can not be less than previous value");
    }
}
