//! `Table` answers: columns of a resource and a row of cells per object.

use std::collections::HashMap;
use std::sync::OnceLock;

use api_machinery::GroupResource;
use api_schema::{PrintColumn, Resource, Schema};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

/// What the columns that many resources have are about; others have no description.
fn description(name: &str) -> &'static str {
    match name {
        "Name" => "Name of the object, unique within its namespace and kind.",
        "Created At" => "When the object was created, set by the server.",
        "Age" => "How long ago the object was created.",
        "Status" => "Where the object is in its life.",
        "Ready" => "How many parts are ready, of how many there should be.",
        "Labels" => "Labels of the object.",
        _ => "",
    }
}

fn column(one: &PrintColumn) -> Column {
    Column {
        name: one.name.clone(),
        kind: one.kind.clone(),
        format: one.format.clone(),
        description: description(&one.name).to_owned(),
        priority: one.priority,
    }
}

fn plain(name: &str, kind: &str, format: &str) -> Column {
    let (name, kind, format) = (name.to_owned(), kind.to_owned(), format.to_owned());
    column(&PrintColumn { name, kind, format, priority: 0 })
}

struct Columns {
    known: HashMap<GroupResource, Vec<Column>>,
    otherwise: Vec<Column>,
}

/// The columns upstream prints for a resource (`facts/printcolumns.tsv`), Name and Created At otherwise.
pub fn columns(resource: &Resource) -> &'static [Column] {
    static COLUMNS: OnceLock<Columns> = OnceLock::new();
    let columns = COLUMNS.get_or_init(|| {
        let of = |(resource, columns): (&GroupResource, &[PrintColumn])| {
            (resource.clone(), columns.iter().map(column).collect())
        };
        let known = Schema::builtin().all_print_columns().map(of).collect();
        Columns { known, otherwise: vec![plain("Name", "string", "name"), plain("Created At", "date", "")] }
    });
    columns.known.get(&resource.group_resource()).unwrap_or(&columns.otherwise)
}

/// The columns of the `scale` subresource.
pub fn scale_columns() -> &'static [Column] {
    static COLUMNS: OnceLock<Vec<Column>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        vec![
            plain("Name", "string", ""),
            plain("Desired", "integer", ""),
            plain("Available", "integer", ""),
            plain("Age", "string", ""),
        ]
    })
}

/// What of each object a `Table` carries (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_upstreams() {
        let of = |group: &str, plural: &str| {
            let resource = Schema::builtin().resource(group, "v1", plural).expect(plural);
            columns(resource)
                .iter()
                .map(|one| format!("{}{}", one.name, "+".repeat(one.priority as usize)))
                .collect::<Vec<_>>()
        };
        let pods =
            ["Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"];
        assert_eq!(of("", "pods"), pods);
        assert_eq!(
            of("apps", "deployments"),
            ["Name", "Ready", "Up-to-date", "Available", "Age", "Containers+", "Images+", "Selector+"]
        );
        assert_eq!(of("rbac.authorization.k8s.io", "roles"), ["Name", "Created At"]);
        assert_eq!(of("authentication.k8s.io", "tokenreviews"), ["Name", "Created At"]);
        let json = serde_json::to_value(&columns(Schema::builtin().resource("", "v1", "pods").expect("pods"))[0])
            .expect("JSON");
        assert_eq!((&json["type"], &json["format"]), (&"string".into(), &"name".into()));
    }
}
