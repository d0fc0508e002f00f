//! What Go's new object of a kind says: nobody set that.

use api_machinery::Value;
use api_schema::{Schema, TypeId};
use serde_json::json;

use crate::default::fill_zero_values;

/// With a null for each list, map and pointer that Go always writes: what is put there is no new field.
pub(crate) fn object(schema: &Schema, type_id: Option<TypeId>, api_version: &str, kind: &str) -> Value {
    let mut zero = json!({"apiVersion": api_version, "kind": kind});
    if let Some(id) = type_id {
        fill_zero_values(schema, id, &mut zero);
    }
    zero
}
