//! StorageClass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::core_node_labels as node_labels;
use crate::{Kind, cells};

pub(crate) struct StorageClass;

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;
/// Of one term, more are not told.
const MAX_REPEATS: usize = 100;
const DEFAULT_MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Kind for StorageClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "storageclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "x"},
               "provisioner": "example.com/p"})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        validate_provisioner(&root.field("provisioner"), errors);
        validate_parameters(&root.field("parameters"), errors);
        root.field("reclaimPolicy").one_of(errors, &["Delete", "Retain"]);
        let mode = root.field("volumeBindingMode");
        if mode.present() {
            mode.exactly_one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
        } else {
            mode.required(errors, "");
        }
        validate_topologies(&root.field("allowedTopologies"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            let (at, before) = (root.field(field), child(old, field));
            if !(at.is_empty() && is_empty(before)) {
                at.unchanged(errors, before);
            }
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let mut warnings = Vec::new();
        for term in root.field("allowedTopologies").items() {
            for expression in term.field("matchLabelExpressions").items() {
                let key = expression.field("key");
                if let Some(message) = node_labels::deprecation(key.str()) {
                    warnings.push(format!("{}: {message}", key.path()));
                }
            }
        }
        warnings
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let default = DEFAULT_MARKS.iter().any(|mark| object::annotation(object, mark) == Some("true"));
        let name = object::name(object);
        Some(vec![
            if default { format!("{name} (default)").into() } else { name.into() },
            cells::text(object, "provisioner"),
            cells::text_or(object, "reclaimPolicy", "Delete"),
            cells::text_or(object, "volumeBindingMode", "Immediate"),
            (child(object, "allowVolumeExpansion") == &Value::Bool(true)).into(),
            cells::age(object, now),
        ])
    }
}

/// Of StorageClasses and VolumeAttributesClasses: a name with a prefix, whatever its case.
pub(crate) fn validate_provisioner(provisioner: &At<'_>, errors: &mut ErrorList) {
    if provisioner.need(errors) {
        let lower = Value::from(provisioner.str().to_lowercase());
        provisioner.with(&lower).format(errors, names::qualified_name);
    }
}

/// A term is a duplicate of each one before it that says the same; upstream sees an empty one for every term there is
/// before the first.
fn validate_topologies(topologies: &At<'_>, errors: &mut ErrorList) {
    let mut seen: HashMap<BTreeMap<&str, BTreeSet<&str>>, usize> = HashMap::new();
    seen.insert(BTreeMap::new(), topologies.list().len());
    for term in topologies.items() {
        let mut keys = BTreeMap::new();
        let expressions = term.field("matchLabelExpressions");
        for (expression, raw) in expressions.items().zip(cells::list(term.value, "matchLabelExpressions")) {
            let (key, values) = (expression.field("key"), expression.field("values"));
            let mut all = BTreeSet::new();
            values.need(errors);
            for (value, text) in values.items().zip(cells::list(raw, "values")) {
                if !all.insert(text.as_str().unwrap_or("")) {
                    value.duplicate(errors);
                }
            }
            key.format(errors, names::qualified_name);
            if keys.insert(object::str_at(raw, "key"), all).is_some() {
                key.duplicate(errors);
            }
        }
        let times = seen.entry(keys).or_default();
        for _ in 0..(*times).min(MAX_REPEATS) {
            errors.duplicate(&expressions.path(), &Value::from(""));
        }
        *times += 1;
    }
}

/// Of StorageClasses and VolumeAttributesClasses.
pub(crate) fn validate_parameters(parameters: &At<'_>, errors: &mut ErrorList) {
    let count = parameters.value.as_object().map_or(0, serde_json::Map::len);
    if count > MAX_PARAMETERS {
        return parameters.too_long(errors, MAX_PARAMETERS);
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.invalid(&parameters.path(), &Value::from(key), "field can not be empty.");
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > MAX_PARAMETER_BYTES {
        parameters.too_long(errors, MAX_PARAMETER_BYTES);
    }
}
