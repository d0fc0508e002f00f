//! OpenAPI v2 and v3 documents, written from the schema: what `kubectl apply`, `explain`, `diff` and
//! client-side validation read. Names, operation ids and extensions are upstream's; descriptions are our own.

mod operations;
mod paths;
mod schemas;

use std::collections::BTreeMap;

use api_machinery::{GroupVersion, Value};
use api_schema::{Resource, Schema};
use serde_json::{Map, json};

pub(crate) const VERSION: &str = "1.36";

/// Which of the two formats is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// `api/v1`, `apis/apps/v1`
pub(crate) fn gv_path(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { format!("api/{}", gv.version) } else { format!("apis/{}/{}", gv.group, gv.version) }
}

fn group_versions(schema: &Schema) -> Vec<GroupVersion> {
    let versions = |group: &api_schema::Group| {
        group.versions.iter().map(|version| GroupVersion::new(&group.name, version)).collect::<Vec<_>>()
    };
    schema.groups().iter().flat_map(versions).collect()
}

/// The one v2 document (`/openapi/v2`), with every served group-version.
pub fn v2(schema: &Schema) -> Value {
    let mut paths = Map::new();
    paths::roots(schema, Dialect::V2, &mut paths);
    for gv in group_versions(schema) {
        paths::group_version(schema, &gv, Dialect::V2, &mut paths);
    }
    let definitions = schemas::closure(schema, Dialect::V2, &paths, None);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "definitions": definitions,
        "security": [{"BearerToken": []}],
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
    })
}

/// The v3 documents by path below `/openapi/v3/`: `api`, `api/v1`, `apis`, `apis/apps`, `apis/apps/v1`, ...
pub fn v3(schema: &Schema) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    let mut roots = Map::new();
    paths::roots(schema, Dialect::V3, &mut roots);
    for (path, item) in roots {
        let name = path.trim_matches('/').to_owned();
        documents.insert(name, v3_document(schema, Map::from_iter([(path, item)]), None));
    }
    for gv in group_versions(schema) {
        let mut paths = Map::new();
        paths::group_version(schema, &gv, Dialect::V3, &mut paths);
        documents.insert(gv_path(&gv), v3_document(schema, paths, Some(&gv)));
    }
    documents
}

fn v3_document(schema: &Schema, paths: Map<String, Value>, gv: Option<&GroupVersion>) -> Value {
    let schemas = schemas::closure(schema, Dialect::V3, &paths, gv);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
            }},
        },
    })
}

/// The resources of a group-version.
fn resources<'a>(schema: &'a Schema, gv: &'a GroupVersion) -> impl Iterator<Item = &'a Resource> {
    schema.resources().iter().filter(move |one| one.gv == *gv)
}
