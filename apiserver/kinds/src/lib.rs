//! One file per kind: what data cannot say. A kind's file, `<group>/<kind>.rs`, holds its names, hooks,
//! validation, cells, and a sample; `list.rs` is the committed list of them, which a test compares with
//! the folders. To add a kind, write its file and let that test write the list.

mod at;
mod cells;
mod conditions;
mod formats;
mod generic;
mod list;
pub mod meta;
pub mod scale;
mod selectors;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;

/// The hooks of one kind. Every method has the generic behaviour as its default, so that a kind's
/// file only says what is special. Pure functions: time comes in, nothing is looked up.
pub trait Kind: Send + Sync {
    /// Group and plural.
    fn resource(&self) -> GroupResource;

    /// A valid object, for tests.
    fn sample(&self) -> Value;

    /// Format of `metadata.name`: messages of what is wrong. Default: DNS subdomain.
    fn validate_name(&self, name: &str) -> Vec<String> {
        api_machinery::names::dns1123_subdomain(name)
    }

    /// Defaults that depend on other fields; runs after the static ones. Idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Before create: drop what clients may not set (status), set what the server owns.
    /// Default: `status` is dropped when the resource has a status subresource.
    fn prepare_create(&self, object: &mut Value, has_status: bool) {
        if has_status && let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
    }

    /// Before update through the main resource: keep what may not change silently.
    /// Default: `status` stays as it was when the resource has a status subresource.
    fn prepare_update(&self, object: &mut Value, old: &Value, has_status: bool) {
        if has_status {
            keep_field(object, old, "status");
        }
    }

    /// Before update through `/status`. Default: everything but `status` (and some metadata, done by the registry) stays.
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        let status = object.get("status").cloned();
        let metadata = object.get("metadata").cloned();
        *object = old.clone();
        if let Some(map) = object.as_object_mut() {
            match status {
                Some(status) => map.insert("status".to_owned(), status),
                None => map.remove("status"),
            };
            if let Some(metadata) = metadata {
                map.insert("metadata".to_owned(), metadata);
            }
        }
    }

    /// What must hold before an object is given what it lacks, and is said alone. `old` is what is stored. Only
    /// Services are given something: addresses and ports.
    fn validate_before_allocation(&self, _object: &Value, _old: Option<&Value>, _errors: &mut ErrorList) {}

    /// What must hold of a new object, metadata excepted (the registry checks that for all kinds). Called on
    /// update as well, where the object carries the `resourceVersion` it is based on; a new one has none.
    fn validate(&self, _object: &Value, _errors: &mut ErrorList) {}

    /// What must hold of a changed object besides [`Self::validate`]: immutable fields.
    fn validate_update(&self, _object: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Before an update through `/resize`: everything stays but what a resize is about. Only pods have it.
    fn prepare_resize(&self, object: &mut Value, old: &Value) {
        object.clone_from(old);
    }

    /// What must hold of a resized object.
    fn validate_resize(&self, _object: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// What must hold of an object whose ephemeral containers change. Only pods have them.
    fn validate_ephemeral(&self, _object: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Before an update through `/approval`: everything stays but the decision. Only certificate signing requests
    /// have it.
    fn prepare_approval(&self, object: &mut Value, old: &Value) {
        object.clone_from(old);
    }

    /// What must hold of a decision.
    fn validate_approval(&self, _object: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Times that the server fills in after an update, of whatever part.
    fn stamp(&self, _object: &mut Value, _old: &Value, _now: Timestamp) {}

    /// What must hold of a changed status.
    fn validate_status_update(&self, _object: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Whether objects have `metadata.generation`: 1 when created, counted up as [`Self::generation_grows`] says.
    fn has_generation(&self) -> bool {
        true
    }

    /// Whether an update counts up `metadata.generation`. Default: when `spec` differs.
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        self.has_generation() && !at::same_behind_pointers(at::child(object, "spec"), at::child(old, "spec"))
    }

    /// What goes from a changed object only after it was asked whether its generation grows: upstream counts it.
    fn drop_counted(&self, _object: &mut Value, _old: &Value) {}

    /// The value of a selectable field other than `metadata.name` and `metadata.namespace`; `None`: not selectable.
    fn field(&self, _object: &Value, _field: &str) -> Option<String> {
        None
    }

    /// The cells of a `Table` row, as many as the resource has columns. `None`: Name and Created At.
    fn cells(&self, _object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        None
    }

    /// The `conditions` of a `Table` row: `Completed` for what will not change any more.
    fn row_conditions(&self, _object: &Value) -> Vec<Value> {
        Vec::new()
    }

    /// Seconds of grace for a delete without `gracePeriodSeconds`. `None`: deleted at once. Pods: their spec's.
    fn default_grace_period(&self, _object: &Value) -> Option<i64> {
        None
    }

    /// Where `scale` reads and writes: JSON paths of replicas, status replicas, selector.
    fn scale(&self) -> Option<ScalePaths> {
        None
    }

    /// PUT on a missing object creates it (leases, nodes, ...: `facts/strategies.tsv`).
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// PUT without resourceVersion is allowed.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// Warnings for the client about an object it writes; one that exists has its `resourceVersion`.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// The same about an object it changes, not only its status. Default: [`Self::warnings`].
    fn update_warnings(&self, object: &Value, _old: &Value) -> Vec<String> {
        self.warnings(object)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ScalePaths {
    /// `spec.replicas`, as `object::at` reads it; so are the others.
    pub spec_replicas: &'static str,
    pub status_replicas: &'static str,
    /// `LabelSelector` object or, for ReplicationController, a plain map.
    pub selector: &'static str,
}

/// Puts `old`'s field into `object`, or removes it where `old` has none.
pub fn keep_field(object: &mut Value, old: &Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        match old.get(field) {
            Some(value) => map.insert(field.to_owned(), value.clone()),
            None => map.remove(field),
        };
    }
}

static BY_RESOURCE: LazyLock<HashMap<GroupResource, &'static dyn Kind>> =
    LazyLock::new(|| all().iter().map(|kind| (kind.resource(), *kind)).collect());

/// The hooks of a resource; the generic ones where it has no file.
pub fn of(resource: &GroupResource) -> &'static dyn Kind {
    BY_RESOURCE.get(resource).copied().unwrap_or(&generic::Generic)
}

/// Every kind that has a file.
pub fn all() -> &'static [&'static dyn Kind] {
    list::KINDS
}
