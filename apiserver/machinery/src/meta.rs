//! What must hold of `metadata` whatever the kind (`k8s.io/apimachinery/pkg/api/validation`).

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::invalid::{ErrorList, Path};
use crate::names::{dns1123_label, label_value, mask_trailing_dash, qualified_name};
use crate::object;
use crate::quote::quoted;

/// Keys and values of all annotations together: 256 KiB.
pub const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
pub const FINALIZER_ORPHAN: &str = "orphan";
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

const IMMUTABLE: &str = "field is immutable";

fn map_of<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    object::meta(object)?.get(field)?.as_object()
}

fn invalid_each(errors: &mut ErrorList, path: &Path, bad: &str, messages: Vec<String>) {
    for message in messages {
        errors.invalid(path, &Value::from(bad), &message);
    }
}

/// Keys and values of `metadata.labels`, or of any map of labels.
pub fn validate_labels(labels: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels {
        invalid_each(errors, path, key, qualified_name(key));
        let value = value.as_str().unwrap_or("");
        invalid_each(errors, path, value, label_value(value));
    }
}

/// Keys (whatever their case) and the total size.
pub fn validate_annotations(annotations: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for key in annotations.keys() {
        invalid_each(errors, path, key, qualified_name(&key.to_lowercase()));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX_BYTES {
        errors.too_long(path, ANNOTATIONS_MAX_BYTES);
    }
}

/// A `LabelSelector` object, as `ValidateLabelSelector`.
pub fn validate_label_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        validate_labels(labels, &path.child("matchLabels"), errors);
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    for (index, expression) in expressions.iter().enumerate() {
        validate_selector_requirement(expression, &path.child("matchExpressions").index(index), errors);
    }
}

fn validate_selector_requirement(expression: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or("");
    let values = expression.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    match text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors
                .forbidden(&path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&path.child("operator"), &Value::from(other), "not a valid selector operator"),
    }
    invalid_each(errors, &path.child("key"), text("key"), qualified_name(text("key")));
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or("");
        invalid_each(errors, &path.child("values").index(index), value, label_value(value));
    }
}

/// Whether upstream finds a version in an `apiVersion`; what it cannot parse has none.
fn has_version(api_version: &str) -> bool {
    match api_version.split_once('/') {
        Some((_, version)) => !version.is_empty() && !version.contains('/'),
        None => !api_version.is_empty(),
    }
}

/// `path` is that of the list: upstream does not say which of the references is wrong.
fn validate_owner_reference(owner: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or("");
    let api_version = text("apiVersion");
    if !has_version(api_version) {
        errors.invalid(&path.child("apiVersion"), &Value::from(api_version), "version must not be empty");
    }
    for field in ["kind", "name", "uid"] {
        if text(field).is_empty() {
            errors.invalid(&path.child(field), &Value::from(""), "must not be empty");
        }
    }
    if matches!(api_version, "v1" | "/v1") && text("kind") == "Event" {
        errors.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
    }
}

fn validate_owner_references(object: &Value, path: &Path, errors: &mut ErrorList) {
    let all = object::meta(object).and_then(|meta| meta.get("ownerReferences")).unwrap_or(&Value::Null);
    let mut controller: Option<String> = None;
    for owner in object::owner_references(object) {
        validate_owner_reference(owner, path, errors);
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or("");
        let this = format!("{}/{}", text("kind"), text("name"));
        match &controller {
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid(path, all, &detail);
            }
            None => controller = Some(this),
        }
    }
}

fn validate_finalizers(object: &Value, path: &Path, errors: &mut ErrorList) {
    let finalizers = object::finalizers(object);
    for finalizer in &finalizers {
        invalid_each(errors, path, finalizer, qualified_name(finalizer));
    }
    if finalizers.contains(&FINALIZER_ORPHAN) && finalizers.contains(&FINALIZER_FOREGROUND) {
        let detail = format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set");
        errors.invalid(path, &Value::from(finalizers), &detail);
    }
}

/// What creation and update share.
fn validate_common(object: &Value, path: &Path, errors: &mut ErrorList) {
    let generation = object::generation(object);
    if generation < 0 {
        errors.invalid(&path.child("generation"), &generation.into(), "must be greater than or equal to 0");
    }
    if let Some(labels) = map_of(object, "labels") {
        validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = map_of(object, "annotations") {
        validate_annotations(annotations, &path.child("annotations"), errors);
    }
    validate_owner_references(object, &path.child("ownerReferences"), errors);
}

/// Metadata of a new object, after its name was generated. `path` is usually `metadata`;
/// `name_check` answers what is wrong with a name of the kind. managedFields are not looked at.
pub fn validate_object_meta(
    object: &Value,
    namespaced: bool,
    name_check: &dyn Fn(&str) -> Vec<String>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let generate_name = object::generate_name(object);
    if !generate_name.is_empty() {
        let messages = name_check(&mask_trailing_dash(generate_name));
        invalid_each(errors, &path.child("generateName"), generate_name, messages);
    }
    match object::name(object) {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        name => invalid_each(errors, &path.child("name"), name, name_check(name)),
    }
    match (namespaced, object::namespace(object)) {
        (true, "") => errors.required(&path.child("namespace"), ""),
        (true, namespace) => invalid_each(errors, &path.child("namespace"), namespace, dns1123_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
    validate_common(object, path, errors);
    validate_finalizers(object, &path.child("finalizers"), errors);
}

/// Metadata of a changed object against what is stored. `object` must carry the resourceVersion it is based on.
pub fn validate_object_meta_update(object: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if object::deletion_timestamp(old).is_some() {
        validate_no_new_finalizers(object, old, &path.child("finalizers"), errors);
    }
    if object::resource_version(object).is_empty() {
        errors.invalid(&path.child("resourceVersion"), &"".into(), "must be specified for an update");
    }
    let generation = object::generation(object);
    if generation < object::generation(old) {
        errors.invalid(&path.child("generation"), &generation.into(), "must not be decremented");
    }
    for (field, empty) in [
        ("name", Value::from("")),
        ("namespace", Value::from("")),
        ("uid", Value::from("")),
        ("creationTimestamp", Value::Null),
        ("deletionTimestamp", Value::Null),
        ("deletionGracePeriodSeconds", Value::Null),
    ] {
        let of = |object| object::meta(object).and_then(|meta| meta.get(field)).unwrap_or(&empty);
        if of(object) != of(old) {
            errors.invalid(&path.child(field), of(object), IMMUTABLE);
        }
    }
    validate_common(object, path, errors);
}

fn validate_no_new_finalizers(object: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let before: HashSet<&str> = object::finalizers(old).into_iter().collect();
    let mut added: Vec<&str> = object::finalizers(object).into_iter().filter(|name| !before.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    if added.is_empty() {
        return;
    }
    let added = added.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added}}}"
    );
    errors.forbidden(path, &detail);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::dns1123_subdomain;

    fn found(errors: &ErrorList) -> Vec<String> {
        errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.reason.as_str())).collect()
    }

    fn on_create(meta: Value, namespaced: bool) -> Vec<String> {
        let mut errors = ErrorList::new();
        let object = json!({"metadata": meta});
        validate_object_meta(&object, namespaced, &dns1123_subdomain, &Path::new("metadata"), &mut errors);
        found(&errors)
    }

    #[test]
    fn create() {
        let owner = |name: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u", "controller": controller});
        let table: Vec<(Value, &[&str])> = vec![
            (json!({"name": "a", "namespace": "b"}), &[]),
            (json!({"namespace": "b"}), &["metadata.name FieldValueRequired"]),
            (json!({"name": "a"}), &["metadata.namespace FieldValueRequired"]),
            (
                json!({"name": "A", "namespace": "b.c"}),
                &["metadata.name FieldValueInvalid", "metadata.namespace FieldValueInvalid"],
            ),
            (json!({"name": "a-x", "generateName": "a-", "namespace": "b"}), &[]),
            (
                json!({"name": "a-x", "generateName": "A-b", "namespace": "b"}),
                &["metadata.generateName FieldValueInvalid"],
            ),
            (
                json!({"name": "a", "namespace": "b", "generation": -1, "labels": {"-": "a", "a": "-"}, "annotations": {"A/b": ""}}),
                &[
                    "metadata.generation FieldValueInvalid",
                    "metadata.labels FieldValueInvalid",
                    "metadata.labels FieldValueInvalid",
                ],
            ),
            (
                json!({"name": "a", "namespace": "b", "annotations": {"a": "x".repeat(ANNOTATIONS_MAX_BYTES)}}),
                &["metadata.annotations FieldValueTooLong"],
            ),
            (json!({"name": "a", "namespace": "b", "annotations": {"a": "x".repeat(ANNOTATIONS_MAX_BYTES - 1)}}), &[]),
            (
                json!({"name": "a", "namespace": "b", "finalizers": ["a/b", "-"]}),
                &["metadata.finalizers FieldValueInvalid"],
            ),
            (
                json!({"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"]}),
                &["metadata.finalizers FieldValueInvalid"],
            ),
            (json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x", true), owner("y", false)]}), &[]),
            (
                json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x", true), owner("y", true)]}),
                &["metadata.ownerReferences FieldValueInvalid"],
            ),
            (
                json!({"name": "a", "namespace": "b", "ownerReferences": [{"apiVersion": "a/b/c"}, {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]}),
                &[
                    "metadata.ownerReferences.apiVersion FieldValueInvalid",
                    "metadata.ownerReferences.kind FieldValueInvalid",
                    "metadata.ownerReferences.name FieldValueInvalid",
                    "metadata.ownerReferences.uid FieldValueInvalid",
                    "metadata.ownerReferences FieldValueInvalid",
                ],
            ),
        ];
        for (meta, expect) in table {
            assert_eq!(
                on_create(meta.clone(), true),
                expect,
                "{}",
                &meta.to_string()[..100.min(meta.to_string().len())]
            );
        }
        assert_eq!(
            on_create(json!({"name": "a", "namespace": "b"}), false),
            ["metadata.namespace FieldValueForbidden"]
        );
    }

    #[test]
    fn update() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "generation": 2, "creationTimestamp": "t",
            "deletionTimestamp": "d", "finalizers": ["a/b"]}});
        let with = |patch: Value| {
            let mut object = old.clone();
            for (key, value) in patch.as_object().expect("an object") {
                object["metadata"][key] = value.clone();
            }
            let mut errors = ErrorList::new();
            validate_object_meta_update(&object, &old, &Path::new("metadata"), &mut errors);
            found(&errors)
        };
        assert_eq!(with(json!({"labels": {"a": "b"}, "finalizers": []})), Vec::<String>::new());
        assert_eq!(with(json!({"finalizers": ["a/b", "c/d"]})), ["metadata.finalizers FieldValueForbidden"]);
        assert_eq!(with(json!({"resourceVersion": ""})), ["metadata.resourceVersion FieldValueInvalid"]);
        assert_eq!(with(json!({"generation": 1})), ["metadata.generation FieldValueInvalid"]);
        assert_eq!(
            with(json!({"name": "b", "uid": "v", "creationTimestamp": null, "deletionTimestamp": null})),
            [
                "metadata.name FieldValueInvalid",
                "metadata.uid FieldValueInvalid",
                "metadata.creationTimestamp FieldValueInvalid",
                "metadata.deletionTimestamp FieldValueInvalid"
            ]
        );
    }

    #[test]
    fn selectors() {
        let check = |selector: Value| {
            let mut errors = ErrorList::new();
            validate_label_selector(&selector, &Path::new("selector"), &mut errors);
            found(&errors)
        };
        assert!(check(json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]})).is_empty());
        assert_eq!(
            check(
                json!({"matchExpressions": [{"key": "", "operator": "In"}, {"key": "a", "operator": "x", "values": ["-"]}]})
            ),
            [
                "selector.matchExpressions[0].values FieldValueRequired",
                "selector.matchExpressions[0].key FieldValueInvalid",
                "selector.matchExpressions[0].key FieldValueInvalid",
                "selector.matchExpressions[1].operator FieldValueInvalid",
                "selector.matchExpressions[1].values[0] FieldValueInvalid"
            ]
        );
    }
}
