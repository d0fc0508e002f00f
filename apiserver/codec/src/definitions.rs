//! CustomResourceDefinitions in `apiextensions.k8s.io/v1beta1`, which has for all versions together what is the same in
//! each, and the webhook that converts in the open. Both ways.

use api_machinery::Value;
use serde_json::{Map, json};

pub(crate) const KIND: &str = "CustomResourceDefinition";
/// What may be shared: its name in a version, and for all of them.
const SHARED: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];
const COLUMNS: &str = "additionalPrinterColumns";
/// (v1, v1beta1)
const PATH: (&str, &str) = ("jsonPath", "JSONPath");

pub(crate) fn to_v1beta1(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let mut shared = Map::new();
    if let Some(versions) = spec.get_mut("versions").and_then(Value::as_array_mut) {
        shared = share(versions);
    }
    shared.into_iter().for_each(|(field, value)| drop(spec.insert(field, value)));
    for columns in columns_of(spec) {
        rename_paths(columns, PATH.0, PATH.1);
    }
    // Nothing is true in v1beta1.
    spec.entry("preserveUnknownFields").or_insert(Value::Bool(false));
    let conversion = spec.get_mut("conversion").and_then(Value::as_object_mut);
    if let Some(conversion) = conversion
        && let Some(Value::Object(webhook)) = conversion.remove("webhook")
    {
        for (field, value) in webhook {
            let named = if field == "clientConfig" { "webhookClientConfig".to_owned() } else { field };
            conversion.insert(named, value);
        }
    }
}

/// Takes out of the versions what all of them have the same, and what the first is called.
fn share(versions: &mut [Value]) -> Map<String, Value> {
    let mut shared = Map::new();
    let Some(first) = versions.first().cloned() else { return shared };
    for (own, common) in SHARED {
        if versions.iter().all(|version| version.get(own) == first.get(own))
            && let Some(value) = first.get(own)
        {
            shared.insert(common.to_owned(), value.clone());
            versions.iter_mut().filter_map(Value::as_object_mut).for_each(|version| drop(version.remove(own)));
        }
    }
    if let Some(name) = first.get("name") {
        shared.insert("version".to_owned(), name.clone());
    }
    shared
}

pub(crate) fn from_v1beta1(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for columns in columns_of(spec) {
        rename_paths(columns, PATH.1, PATH.0);
    }
    if let Some(name) = spec.remove("version").filter(|_| is_without(spec, "versions")) {
        spec.insert("versions".to_owned(), json!([{"name": name, "served": true, "storage": true}]));
    }
    for (own, common) in SHARED {
        let Some(value) = spec.remove(common) else { continue };
        let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
        for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
            version.insert(own.to_owned(), value.clone());
        }
    }
    match spec.get("preserveUnknownFields") {
        Some(Value::Bool(false)) => drop(spec.remove("preserveUnknownFields")),
        Some(_) => {}
        None => drop(spec.insert("preserveUnknownFields".to_owned(), Value::Bool(true))),
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        gather_webhook(conversion);
    }
}

fn is_without(spec: &Map<String, Value>, field: &str) -> bool {
    spec.get(field).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn gather_webhook(conversion: &mut Map<String, Value>) {
    const FIELDS: [(&str, &str); 2] =
        [("webhookClientConfig", "clientConfig"), ("conversionReviewVersions", "conversionReviewVersions")];
    let said = FIELDS.into_iter().filter_map(|(open, own)| Some((own.to_owned(), conversion.remove(open)?)));
    let webhook: Map<String, Value> = said.collect();
    if !webhook.is_empty() {
        conversion.insert("webhook".to_owned(), Value::Object(webhook));
    }
}

/// Of all versions together, and of each.
fn columns_of(spec: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut all = Vec::new();
    for (field, value) in spec {
        match value {
            columns if field == COLUMNS => all.push(columns),
            Value::Array(versions) if field == "versions" => {
                all.extend(versions.iter_mut().filter_map(|version| version.get_mut(COLUMNS)));
            }
            _ => {}
        }
    }
    all
}

fn rename_paths(columns: &mut Value, from: &str, to: &str) {
    for column in columns.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove(from) {
            column.insert(to.to_owned(), path);
        }
    }
}
