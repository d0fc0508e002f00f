//! Every field: its place on the wire and in JSON, what merges it, and what OpenAPI says of it.

use std::path::{Path, PathBuf};

use api_machinery::Value;
use api_schema::{Field, Holder, ListType, Schema, Shape, Type};

use crate::report::{Report, Row, rows};
use crate::{EXCEPTIONS, folder};

/// One for each package. What begins with an underscore is about types, or about the tables themselves.
pub(crate) fn tables_of_fields(folder: &Path) -> Vec<PathBuf> {
    let is_of_fields = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.ends_with(".tsv") && !name.starts_with('_')
    };
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut tables: Vec<PathBuf> = entries.filter(is_of_fields).collect();
    tables.sort();
    tables
}

#[test]
fn golden_fields() {
    let Some(folder) = folder::place("fields") else { return };
    let mut report = Report::new("fields", EXCEPTIONS);
    for row in tables_of_fields(&folder).iter().flat_map(|table| rows(table)) {
        compare_row(&mut report, &row);
    }
    report.finish();
}

fn compare_row(report: &mut Report, row: &Row) {
    let schema = Schema::builtin();
    let at = format!("{} {}", row.get("type"), row.get("json"));
    report.row();
    let Some(of) = schema.type_named(row.get("type")).map(|id| schema.get(id)) else {
        return report.differs(&at, "there is no such type");
    };
    if row.get("json") == "(inline)" {
        return compare_inlined(report, &at, of, row);
    }
    let Some(field) = of.field(row.get("json")) else { return report.differs(&at, "there is no such field") };
    report.compare(&at, "its type", fits(&field.shape, row.get("ftype")), true);
    compare_wire(report, &at, field, row);
    compare_json(report, &at, field, row);
    compare_merging(report, &at, field, row);
    compare_names(report, &at, field, row);
}

/// JSON flattens it, protobuf nests it under the tag.
fn compare_inlined(report: &mut Report, at: &str, of: &Type, row: &Row) {
    let schema = Schema::builtin();
    let wanted = (schema.type_named(row.get("ftype")).expect("a type"), number(row.get("tag")));
    report.compare(at, "inlined", of.inlined.contains(&wanted), true);
    for inner in schema.get(wanted.0).fields.iter().filter(|inner| inner.nesting.is_empty() && inner.tag > 0) {
        let nesting = of.field(&inner.json).map(|field| field.nesting.clone());
        let tag = Some(wanted.1).filter(|tag| *tag > 0);
        report.compare(at, &inner.json, nesting, Some(tag.into_iter().collect()));
    }
}

fn number(text: &str) -> u32 {
    if text.is_empty() { 0 } else { text.parse().expect("a number") }
}

/// Whether a Go type is read and written as this.
fn fits(shape: &Shape, ftype: &str) -> bool {
    let schema = Schema::builtin();
    match shape {
        Shape::Bool => ftype == "bool",
        Shape::Int32 => ftype == "int32",
        Shape::Int64 => ftype == "int64",
        Shape::Float64 => ftype == "double",
        Shape::String => ftype == "string",
        Shape::Bytes => ftype == "bytes",
        Shape::Quantity => ftype == "Quantity",
        Shape::IntOrString => ftype == "IntOrString",
        Shape::Time => ftype == "Time",
        Shape::MicroTime => ftype == "MicroTime",
        Shape::Duration => ftype == "Duration",
        Shape::Any => ["RawExtension", "FieldsV1", "any", "apiextensions.v1.JSON"].contains(&ftype),
        Shape::Message(id) => schema.get(*id).name == ftype,
        Shape::List(element) => ftype.strip_prefix("[]").is_some_and(|ftype| fits(element, ftype)),
        Shape::Map(element) => ftype.strip_prefix("map[string]").is_some_and(|ftype| fits(element, ftype)),
        Shape::OneOf(_) => ftype.starts_with("apiextensions.v1.JSONSchemaPropsOr"),
    }
}

/// The encoding on the wire, and how often it may be there.
fn wire(shape: &Shape) -> (&'static str, &'static str) {
    match shape {
        Shape::Bool | Shape::Int32 | Shape::Int64 => ("varint", "opt"),
        Shape::Float64 => ("fixed64", "opt"),
        Shape::List(element) => (wire(element).0, "rep"),
        Shape::Map(_) => ("bytes", "map"),
        _ => ("bytes", "opt"),
    }
}

fn compare_wire(report: &mut Report, at: &str, field: &Field, row: &Row) {
    report.compare(at, "tag", field.tag, number(row.get("tag")));
    if field.tag > 0 {
        // A list with a name of its own is a message around the list.
        let named = field.go_type.ends_with("v1.Verbs");
        let (encoding, label) = if named { ("bytes", "opt") } else { wire(&field.shape) };
        report.compare(at, "encoding", (encoding, label), (row.get("wire"), row.get("plabel")));
    }
    let holder = match field.holder {
        Holder::Value => "v",
        Holder::Pointer => "p",
        Holder::Collection => "smb",
    };
    report.compare(at, "pointer", holder.contains(row.get("ptr")), true);
}

fn compare_json(report: &mut Report, at: &str, field: &Field, row: &Row) {
    report.compare(at, "required", field.required, row.get("req") == "R");
    report.compare(at, "left out when empty", field.omit_empty, row.get("omit").starts_with("omit"));
    let default = Some(row.get("default")).filter(|text| !text.is_empty());
    let default: Option<Value> = default.map(|text| serde_json::from_str(text).expect("JSON"));
    report.compare(at, "default", field.default.as_ref(), default.as_ref());
    let own: Vec<&str> = field.enum_values.iter().map(String::as_str).collect();
    report.compare(at, "enum", own, row.list("enum"));
}

fn compare_merging(report: &mut Report, at: &str, field: &Field, row: &Row) {
    let patch =
        [("merge", field.patch.merge), ("replace", field.patch.replace), ("retainKeys", field.patch.retain_keys)];
    let own: Vec<&str> = patch.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    let mut wanted = row.list("patchStrategy");
    wanted.sort_unstable();
    report.compare(at, "patch strategy", own, wanted);
    report.compare(at, "merge key", field.merge_key.as_deref().unwrap_or(""), row.get("patchMergeKey"));
    let list = match field.list_type {
        _ if !field.list_type_known => "",
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map => "map",
    };
    report.compare(at, "list type", list, row.get("listType"));
    let keys: Vec<&str> = field.list_map_keys.iter().map(String::as_str).collect();
    report.compare(at, "list keys", keys, row.list("listMapKeys"));
    report.compare(at, "map type", field.map_type.as_deref().unwrap_or(""), row.get("mapType"));
}

/// What Go and protobuf call it, where that is not what JSON says.
fn compare_names(report: &mut Report, at: &str, field: &Field, row: &Row) {
    let marked = |name: &str| row.get("markers").split(' ').find_map(|marker| marker.strip_prefix(name));
    if let Some(alias) = marked("alias=") {
        let own = field.go_alias.as_deref().unwrap_or(&field.go_type);
        report.compare(at, "Go type", own.rsplit(']').next().unwrap_or(own), alias);
    }
    report.compare(at, "protobuf name", field.proto_name.as_deref(), marked("proto-name="));
}
