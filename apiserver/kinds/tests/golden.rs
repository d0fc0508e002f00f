//! Tables of upstream's behaviour against the kinds: what lists can be selected by, and the columns of tables.

use std::collections::{BTreeMap, BTreeSet};

use api_codec::table;
use api_machinery::Value;
use api_schema::{Resource, Schema};
use serde_json::json;

use crate::folder;

fn served(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    Schema::builtin().resource(if group == "core" { "" } else { group }, version, plural)
}

/// Every accepted label is accepted, and nothing else is.
#[test]
fn golden_field_selectors() {
    let Some(table) = folder::place("fieldselectors.tsv") else { return };
    let table = std::fs::read_to_string(table).expect("a table");
    let mut rows: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    let (mut fields, mut off) = (0, 0);
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [group, version, resource, default, field, ..] = columns[..] else { panic!("a short row: {line}") };
        // The rows of custom resources are about no resource.
        if default != "on" || group.starts_with('(') {
            off += 1;
            continue;
        }
        fields += 1;
        let of = (group.to_owned(), version.to_owned(), resource.to_owned());
        rows.entry(of).or_default().insert(field.to_owned());
    }
    let mut wrong = Vec::new();
    for ((group, version, plural), wanted) in &rows {
        let Some(resource) = served(group, version, plural) else {
            wrong.push(format!("{group}/{version} {plural} is not served"));
            continue;
        };
        let of = resource.group_resource();
        let own: BTreeSet<String> = Schema::builtin().selectable_fields(&of).iter().cloned().collect();
        let (kind, nothing) = (api_kinds::of(&of), json!({}));
        let answers = |field: &String| field.starts_with("metadata.") || kind.field(&nothing, field).is_some();
        wrong.extend(own.symmetric_difference(wanted).map(|field| format!("{plural}.{group} {field}: not in both")));
        wrong.extend(
            wanted.iter().filter(|field| !answers(field)).map(|field| format!("{plural}.{group} {field}: unknown")),
        );
    }
    println!(
        "golden field selectors: {fields} fields of {} resources, {} differences; {off} rows are of what is off",
        rows.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Name, type, format and priority of every column of what is served.
#[test]
fn golden_print_columns() {
    let Some(file) = folder::place("printcolumns.json") else { return };
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON");
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let (mut columns, mut resources, mut off, mut wrong) = (0, 0, 0, Vec::new());
    for one in &all {
        let plural = text(one, "resource");
        let Some(resource) = served(&text(one, "group"), &text(one, "version"), &plural) else {
            off += 1;
            continue;
        };
        let row = |name: &str, kind: &str, format: &str, priority: i64| format!("{name}|{kind}|{format}|{priority}");
        let wanted: Vec<String> = one["columns"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| row(&text(c, "name"), &text(c, "type"), &text(c, "format"), c["priority"].as_i64().unwrap_or(0)))
            .collect();
        let own: Vec<String> =
            table::columns(resource).iter().map(|c| row(&c.name, &c.kind, &c.format, c.priority.into())).collect();
        resources += 1;
        columns += wanted.len();
        if own != wanted {
            wrong.push(format!("{plural}: {own:?} is not {wanted:?}"));
        }
    }
    println!(
        "golden print columns: {columns} columns of {resources} resources, {} resources differ; {off} are not served",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
