//! What `allOf`, `anyOf`, `oneOf` and `not` say of fields and items must be of those that the schema itself has.

use api_machinery::ErrorList;

use crate::at::At;
use crate::list::apiextensions_schema::{COMBINATIONS, MAX_DEPTH};

/// Of a schema as a whole.
pub(crate) fn validate(schema: &At<'_>, errors: &mut ErrorList) {
    validate_combinations(schema, schema, 0, errors);
}

/// `said` of what `schema` describes.
fn validate_combinations(said: &At<'_>, schema: &At<'_>, depth: usize, errors: &mut ErrorList) {
    for field in COMBINATIONS {
        for one in said.field(field).items() {
            validate_nested(&one, schema, depth + 1, errors);
        }
    }
    validate_nested(&said.field("not"), schema, depth + 1, errors);
}

fn validate_nested(said: &At<'_>, schema: &At<'_>, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH || !said.value.is_object() {
        return;
    }
    if !schema.value.is_object() {
        return schema.required(errors, &format!("because it is defined in {}", said.path()));
    }
    validate_combinations(said, schema, depth, errors);
    validate_nested(&said.field("items"), &schema.field("items"), depth + 1, errors);
    let properties = schema.field("properties");
    for (name, one) in said.field("properties").entries() {
        validate_nested(&one, &properties.key(name), depth + 1, errors);
    }
}
