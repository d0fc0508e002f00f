//! Namespace.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::{Kind, cells, meta};

pub(crate) struct Namespace;

/// Removed by the namespace controller when all content is gone.
const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Kind for Namespace {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "namespaces")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}})
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// The label with the namespace's own name, which selectors rely on.
    fn default(&self, object: &mut Value) {
        let name = object::name(object).to_owned();
        if name.is_empty() || object::label(object, NAME_LABEL) == Some(&name) {
            return;
        }
        let labels = object::meta_mut(object).entry("labels").or_insert_with(|| json!({}));
        if labels.is_null() {
            *labels = json!({});
        }
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(NAME_LABEL.to_owned(), name.into());
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"phase": "Active"});
        if !object["spec"].is_object() {
            object["spec"] = json!({});
        }
        let finalizers = &mut object["spec"]["finalizers"];
        if !finalizers.is_array() {
            *finalizers = json!([]);
        }
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|one| one == FINALIZER)
        {
            list.push(FINALIZER.into());
        }
    }
    /// Finalizers change through `/finalize` only.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "spec");
        crate::keep_field(object, old, "status");
    }
    /// What finalizers a namespace has changes through `/finalize` only, whose errors name the item.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let finalizers = root.field("spec.finalizers");
        for finalizer in finalizers.items() {
            let place = if meta::is_new(object) { finalizers.with(finalizer.value) } else { finalizer };
            place.format(errors, names::qualified_name);
            if !meta::finalizer_is_known(place.str()) {
                place.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
            }
        }
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, false, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let phase = root.field("status.phase");
        let (wanted, detail) = match object::deletion_timestamp(object) {
            None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
            Some(_) => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
        };
        if phase.str() != wanted {
            // The path is upstream's.
            let path = api_machinery::Path::new("status").child("Phase");
            errors.invalid(&path, &Value::from(phase.str()), detail);
        }
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.phase").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::text(object, "status.phase"), cells::age(object, now)])
    }
}
