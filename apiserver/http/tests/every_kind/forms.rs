//! One object and its list in every form that a client can ask for.

use std::collections::BTreeMap;

use api_codec::yaml;
use api_machinery::{Value, object};
use serde_json::json;

use super::session::{JSON, PROTOBUF, Session, read};
use super::{Case, Findings, LABEL};
use crate::golden;

/// Name, type, format and priority.
pub(super) type Columns = Vec<[String; 4]>;

/// Upstream's columns by group-version and resource; `None` where they are not here.
pub(super) fn columns() -> Option<BTreeMap<String, Columns>> {
    let file = std::fs::read(golden::place("printcolumns.json")?).expect("a file");
    let all: Vec<Value> = serde_json::from_slice(&file).expect("JSON");
    let name = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap_or("").to_owned();
        let group = Some(text("group")).filter(|group| group != "core").map(|group| group + "/").unwrap_or_default();
        format!("{group}{}/{}", text("version"), text("resource"))
    };
    Some(all.iter().map(|one| (name(one), described(&one["columns"]))).collect())
}

fn described(columns: &Value) -> Columns {
    let one = |column: &Value| {
        ["name", "type", "format", "priority"].map(|field| match &column[field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        })
    };
    columns.as_array().into_iter().flatten().map(one).collect()
}

/// `application/json;as=Table;...`
pub(super) fn as_kind(format: &str, kind: &str) -> String {
    format!("{format};as={kind};g=meta.k8s.io;v=v1")
}

pub(super) async fn compare(
    session: &Session<'_>,
    case: &Case,
    served: &Value,
    columns: Option<&Columns>,
    findings: &mut Findings,
) {
    let name = case.name();
    let packed = session.get(&case.path, PROTOBUF).await;
    findings.holds(&format!("{name} is in protobuf"), packed.header("content-type") == PROTOBUF);
    findings.same(&format!("{name} in protobuf"), &read(&packed), served);
    let written = session.get(&case.path, "application/yaml").await;
    findings.holds(&format!("{name} in YAML: {}", written.text()), written.text() == yaml::to_string(served));
    let target = format!("{}?{LABEL}", case.collection);
    let list = session.get(&target, JSON).await.json();
    let mut item = served.clone();
    item.as_object_mut().into_iter().for_each(|map| map.retain(|field, _| field != "kind" && field != "apiVersion"));
    findings.same(&format!("{name} listed"), &list["items"], &json!([item]));
    let packed = session.get(&target, PROTOBUF).await;
    findings.holds(&format!("the list of {name} is in protobuf"), packed.header("content-type") == PROTOBUF);
    findings.same(&format!("{name} listed in protobuf"), &read(&packed), &list);
    let written = session.get(&target, "application/yaml").await;
    findings.holds(&format!("list of {name} in YAML: {}", written.text()), written.text() == yaml::to_string(&list));
    compare_partial(session, case, served, &list, findings).await;
    compare_tables(session, case, served, &list, columns, findings).await;
}

pub(super) fn partial(served: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": served["metadata"]})
}

async fn compare_partial(session: &Session<'_>, case: &Case, served: &Value, list: &Value, findings: &mut Findings) {
    let name = case.name();
    let wanted_list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": list["metadata"], "items": [partial(served)]});
    for format in [JSON, PROTOBUF] {
        let one = session.get(&case.path, &as_kind(format, "PartialObjectMetadata")).await;
        findings.same(&format!("metadata of {name} in {format}"), &read(&one), &partial(served));
        let accept = as_kind(format, "PartialObjectMetadataList");
        let all = session.get(&format!("{}?{LABEL}", case.collection), &accept).await;
        let mut all = read(&all);
        // In protobuf items have no kind to say.
        if format == PROTOBUF {
            all["items"][0]["kind"] = "PartialObjectMetadata".into();
            all["items"][0]["apiVersion"] = "meta.k8s.io/v1".into();
        }
        findings.same(&format!("metadata of the list of {name} in {format}"), &all, &wanted_list);
    }
}

/// What a Table's only row and its columns have to be. `columns`: whether this one says them.
pub(super) fn compare_table(
    what: &str,
    table: &Value,
    served: &Value,
    columns: Option<&Columns>,
    findings: &mut Findings,
) {
    findings.same(what, &table["kind"], &json!("Table"));
    let own = described(&table["columnDefinitions"]);
    if let Some(columns) = columns {
        findings.columns += columns.len();
        findings.same(&format!("{what}: columns"), &json!(own), &json!(columns));
    }
    let row = &table["rows"][0];
    findings.same(&format!("{what}: object"), &row["object"], &partial(served));
    let cells = row["cells"].as_array().map_or(&[][..], Vec::as_slice);
    let is_fit = |(cell, [_, kind, ..]): (&Value, &[String; 4])| match kind.as_str() {
        "integer" | "number" => cell.is_number(),
        // Upstream puts counts into columns of strings, and words into those of booleans.
        _ => cell.is_string() || cell.is_number() || cell.is_boolean(),
    };
    let fit = own.is_empty() || own.len() == cells.len() && cells.iter().zip(&own).all(is_fit);
    findings.holds(&format!("{what}: {cells:?} do not fit {own:?}"), fit);
    findings.holds(&format!("{what}: a name"), cells.contains(&json!(object::name(served))));
}

async fn compare_tables(
    session: &Session<'_>,
    case: &Case,
    served: &Value,
    list: &Value,
    columns: Option<&Columns>,
    findings: &mut Findings,
) {
    let target = format!("{}?{LABEL}", case.collection);
    for (what, target, version) in [
        ("one", case.path.clone(), &served["metadata"]["resourceVersion"]),
        ("list", target, &list["metadata"]["resourceVersion"]),
    ] {
        let what = format!("Table of {} ({what})", case.name());
        let table = session.get(&target, &as_kind(JSON, "Table")).await.json();
        compare_table(&what, &table, served, columns, findings);
        findings.same(&format!("{what}: version"), &table["metadata"]["resourceVersion"], version);
        let packed = session.get(&target, &as_kind(PROTOBUF, "Table")).await;
        findings.holds(&format!("{what}: there is none in protobuf"), packed.code == 406);
        let either = format!("{},{}", as_kind(PROTOBUF, "Table"), as_kind(JSON, "Table"));
        findings.same(&what, &session.get(&target, &either).await.json()["kind"], &json!("Table"));
    }
}
