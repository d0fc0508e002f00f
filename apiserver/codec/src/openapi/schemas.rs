//! Definitions: one per type, and the few that are no types of ours.

use std::borrow::Cow;
use std::collections::BTreeSet;

use api_machinery::{GroupVersion, Value};
use api_schema::{Descriptions, Field, Holder, ListType, Schema, Shape, Type};
use serde_json::{Map, json};

use super::Dialect;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// What `/version` answers, which is no kind.
pub(super) const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

pub(super) fn meta_name(kind: &str) -> String {
    format!("{META}.{kind}")
}

/// `k8s.io.api.apps.v1.Deployment` -> `io.k8s.api.apps.v1.Deployment`; packages have `-` where protobuf has `_`.
pub(super) fn definition_name(one: &Type) -> String {
    let name = one.proto.strip_prefix("k8s.io.").unwrap_or(&one.proto);
    let name = name.replace("apiextensions_apiserver", "apiextensions-apiserver");
    format!("io.k8s.{}", name.replace("kube_aggregator", "kube-aggregator"))
}

/// Definitions that stand for a scalar or for anything.
fn special(name: &str, dialect: Dialect) -> Option<Value> {
    let short = name.rsplit('.').next()?;
    Some(match short {
        _ if name == VERSION_INFO => version_info(dialect),
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string"}),
        "Quantity" if dialect == Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "Quantity" => json!({"type": "string"}),
        "IntOrString" if dialect == Dialect::V3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
        "RawExtension" | "FieldsV1" | "Patch" => json!({"type": "object"}),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => json!({}),
        _ => return None,
    })
}

/// A definition that stands for no message, with its description and those of its properties.
fn described(name: &str, own: Option<Cow<'static, str>>, mut definition: Value) -> Value {
    let short = name.rsplit('.').next().unwrap_or(name);
    let text = |name: &str| Descriptions::builtin().of_special(name);
    if let Some(text) = own.or_else(|| text(short).map(Cow::Borrowed)) {
        definition["description"] = text.into();
    }
    for (property, value) in definition.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(text) = text(&format!("{short}.{property}")) {
            value["description"] = text.into();
        }
    }
    definition
}

fn version_info(dialect: Dialect) -> Value {
    let always =
        ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
    let sometimes = ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    let text = || json!({"type": "string"});
    let with_default = || if dialect == Dialect::V3 { json!({"type": "string", "default": ""}) } else { text() };
    let properties: Map<String, Value> = always
        .iter()
        .map(|name| ((*name).to_owned(), with_default()))
        .chain(sometimes.iter().map(|name| ((*name).to_owned(), text())))
        .collect();
    json!({"type": "object", "required": always, "properties": properties})
}

/// The definition a shape refers to, if it is not written in place.
fn named(schema: &Schema, shape: &Shape, go_type: &str) -> Option<String> {
    Some(match shape {
        Shape::Message(id) => definition_name(schema.get(*id)),
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        Shape::Time => meta_name("Time"),
        Shape::MicroTime => meta_name("MicroTime"),
        Shape::Duration => meta_name("Duration"),
        Shape::Any => match go_type {
            "runtime.RawExtension" => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
            "v1.FieldsV1" => meta_name("FieldsV1"),
            "v1.JSON" => format!("{EXTENSIONS}.JSON"),
            _ => return None,
        },
        Shape::OneOf(_) => format!("{EXTENSIONS}.{}", go_type.rsplit('.').next().unwrap_or(go_type)),
        _ => return None,
    })
}

fn shape_schema(schema: &Schema, shape: &Shape, go_type: &str, dialect: Dialect) -> Value {
    if let Some(name) = named(schema, shape, go_type) {
        return dialect.reference(&name);
    }
    let inside = |prefix: &str| go_type.strip_prefix(prefix).unwrap_or(go_type).to_owned();
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Float64 => json!({"type": "number", "format": "double"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::List(element) => {
            json!({"type": "array", "items": shape_schema(schema, element, &inside("[]"), dialect)})
        }
        Shape::Map(element) => {
            let element = shape_schema(schema, element, &inside("map[string]"), dialect);
            json!({"type": "object", "additionalProperties": element})
        }
        Shape::Any => json!({"type": "object"}),
        _ => json!({"type": "string"}),
    }
}

/// Names of extension values that are comma-separated in Go tags.
fn patch_strategy(field: &Field) -> Option<String> {
    let flags =
        [(field.patch.merge, "merge"), (field.patch.replace, "replace"), (field.patch.retain_keys, "retainKeys")];
    let set: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    (!set.is_empty()).then(|| set.join(","))
}

fn property(schema: &Schema, one: &Type, field: &Field, dialect: Dialect) -> Value {
    let base = shape_schema(schema, &field.shape, &field.go_type, dialect);
    let mut more = Map::new();
    if let Some(text) = Descriptions::builtin().of_field(schema, one, field) {
        more.insert("description".to_owned(), text.into());
    }
    if let Some(default) = field.default.as_ref().filter(|_| dialect == Dialect::V3) {
        more.insert("default".to_owned(), default.clone());
    }
    if let Some(strategy) = patch_strategy(field) {
        more.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
    }
    if let Some(key) = &field.merge_key {
        more.insert("x-kubernetes-patch-merge-key".to_owned(), key.as_str().into());
    }
    if field.list_type_known {
        let name = match field.list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        more.insert("x-kubernetes-list-type".to_owned(), name.into());
    }
    if !field.list_map_keys.is_empty() {
        more.insert("x-kubernetes-list-map-keys".to_owned(), field.list_map_keys.clone().into());
    }
    if let Some(map_type) = &field.map_type {
        more.insert("x-kubernetes-map-type".to_owned(), map_type.as_str().into());
    }
    let mut out = match base {
        // In v3 nothing may stand beside a reference.
        Value::Object(base) if dialect == Dialect::V3 && base.contains_key("$ref") && !more.is_empty() => {
            Map::from_iter([("allOf".to_owned(), json!([base]))])
        }
        Value::Object(base) => base,
        _ => Map::new(),
    };
    if !field.enum_values.is_empty() {
        let values = Value::from(field.enum_values.clone());
        let inside = if out.contains_key("items") { "items" } else { "additionalProperties" };
        match out.get_mut(inside) {
            Some(element) => element["enum"] = values,
            None => drop(out.insert("enum".to_owned(), values)),
        }
    }
    out.extend(more);
    Value::Object(out)
}

fn kinds(schema: &Schema, one: &Type, dialect: Dialect, gv: Option<&GroupVersion>) -> Vec<Value> {
    let entry = |group: &str, version: &str, kind: &str| json!({"group": group, "kind": kind, "version": version});
    if !one.in_every_group {
        return one.gvks.iter().map(|gvk| entry(&gvk.group, &gvk.version, &gvk.kind)).collect();
    }
    let served: Vec<GroupVersion> = match (dialect, gv) {
        (Dialect::V3, gv) => gv.into_iter().cloned().collect(),
        (Dialect::V2, _) => schema.resources().iter().map(|one| one.gv.clone()).collect(),
    };
    let mut all: Vec<(String, String)> =
        served.iter().map(|gv| (gv.group.to_string(), gv.version.to_string())).collect();
    all.push((String::new(), "v1".to_owned()));
    all.sort();
    all.dedup();
    all.iter().map(|(group, version)| entry(group, version, one.short_name())).collect()
}

fn definition(schema: &Schema, one: &Type, dialect: Dialect, gv: Option<&GroupVersion>) -> Value {
    let mut out = Map::from_iter([("type".to_owned(), "object".into())]);
    if let Some(text) = Descriptions::builtin().of_type(schema, one) {
        out.insert("description".to_owned(), text.into());
    }
    let properties: Map<String, Value> =
        one.fields.iter().map(|field| (field.json.clone(), property(schema, one, field, dialect))).collect();
    if !properties.is_empty() {
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> =
        one.fields.iter().filter(|field| field.required).map(|field| field.json.as_str()).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), required.into());
    }
    let kinds = kinds(schema, one, dialect, gv);
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
    }
    if one.atomic {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if let Some(unions) = &one.unions {
        out.insert("x-kubernetes-unions".to_owned(), unions.clone());
    }
    Value::Object(out)
}

/// Query parameters of a connect subresource: the fields of its options.
pub(super) fn option_parameters(one: &Type) -> Vec<(String, &'static str)> {
    // Upstream documents no parameter that is a time.
    let of_object =
        |field: &&Field| !matches!(field.json.as_str(), "kind" | "apiVersion") && field.shape != Shape::Time;
    let type_of = |shape: &Shape| match shape {
        Shape::Bool => "boolean",
        Shape::Int32 | Shape::Int64 => "integer",
        _ => "string",
    };
    let shape = |field: &Field| match &field.shape {
        Shape::List(element) if field.holder == Holder::Collection => type_of(element),
        shape => type_of(shape),
    };
    one.fields.iter().filter(of_object).map(|field| (field.json.clone(), shape(field))).collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|text| text.rsplit('/').next()) {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Every definition the paths need, and those these need.
pub(super) fn closure(
    schema: &Schema,
    dialect: Dialect,
    paths: &Map<String, Value>,
    gv: Option<&GroupVersion>,
) -> Map<String, Value> {
    let by_name: std::collections::HashMap<String, &Type> =
        schema.types().map(|(_, one)| (definition_name(one), one)).collect();
    let mut wanted = BTreeSet::new();
    paths.values().for_each(|item| references(item, &mut wanted));
    let mut out = Map::new();
    while let Some(name) = wanted.pop_first() {
        if out.contains_key(&name) {
            continue;
        }
        let one = by_name.get(&name).copied();
        let own = || one.and_then(|one| Descriptions::builtin().of_type(schema, one));
        let made = match special(&name, dialect) {
            Some(special) => Some(described(&name, own(), special)),
            None => one.map(|one| definition(schema, one, dialect, gv)),
        };
        // A reference to nothing would be our mistake; the comparison with upstream shows it.
        let Some(made) = made else { continue };
        references(&made, &mut wanted);
        out.insert(name, made);
    }
    out
}
