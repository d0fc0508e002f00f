//! Static defaults from the schema's facts (`facts/defaults.tsv`). Defaults that depend on other
//! fields or kinds are in the kind's file (`Kind::default`).

use api_machinery::Value;
use api_schema::{Resource, Schema};

/// Fills in every default of the kind that applies. Idempotent.
pub fn apply_defaults(_schema: &Schema, _resource: &Resource, _object: &mut Value) {
    todo!()
}
