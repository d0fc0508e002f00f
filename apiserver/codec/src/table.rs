//! `Table` answers: columns of a resource and a row of cells per object.

use api_machinery::Value;
use api_schema::Resource;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

/// The columns upstream prints for a resource (`facts/printcolumns.json`), Name and Created At otherwise.
pub fn columns(_resource: &Resource) -> &'static [Column] {
    todo!()
}

/// What of each object a `Table` carries (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// `PartialObjectMetadata` (meta.k8s.io/v1) of an object.
pub fn partial_metadata(_object: &Value) -> Value {
    todo!()
}
