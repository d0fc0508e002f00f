//! The schema of a version as a whole: its root, its structure, its defaults, its rules, one after the other.

use api_machinery::invalid::CauseType;
use api_machinery::{ErrorList, Path, Value};

use crate::at::{At, child, is_empty};
use crate::list::apiextensions_ratchet::Demands;
use crate::list::{
    apiextensions_completeness as completeness, apiextensions_defaults as defaults, apiextensions_schema as schema,
    apiextensions_schema_rules as schema_rules, apiextensions_shown as shown,
};

/// The schema of a version. With a status subresource only some fields make sense at its root.
pub(crate) fn validate_root(schema: &At<'_>, has_status: bool, demands: &Demands<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    if has_status {
        validate_beside_status(schema, errors);
    }
    if schema.field("nullable").flag() {
        schema.field("nullable").forbidden(errors, "nullable cannot be true at the root");
    }
    let unsupported = unsupported(schema.value);
    let is_sound = unsupported.is_none() && is_structural(schema, demands, errors);
    schema_rules::validate_root(schema, is_sound, demands, errors);
    // Most that is not supported has been told in other words.
    if let Some(why) = unsupported.filter(|_| errors.len() == before) {
        errors.invalid(&schema.path(), &Value::from(""), why);
    }
}

/// Whether the schema is structural, and its defaults are as it says.
fn is_structural(schema: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) -> bool {
    let mut found = ErrorList::new();
    schema::validate_structure(schema, &mut found);
    completeness::validate(schema, &mut found);
    if !found.is_empty() {
        append_sorted(found, errors);
        return false;
    }
    let before = errors.len();
    defaults::validate(schema, demands.pruned_defaults, errors);
    errors.len() == before
}

/// What is wrong with the structure is told in the order of its text.
fn append_sorted(found: ErrorList, errors: &mut ErrorList) {
    let count = found.len();
    let mut causes = found.into_causes();
    causes.sort_by_cached_key(|cause| format!("{}: {}", cause.field, cause.message));
    for cause in &causes {
        let path = Path::new(&cause.field);
        let detail = cause.message.split_once(": ").map_or("", |(_, detail)| detail);
        match cause.reason {
            CauseType::Required => errors.required(&path, detail),
            CauseType::Forbidden => errors.forbidden(&path, detail),
            _ => errors.invalid_omitted(&path, detail),
        }
    }
    // What was too much to be kept is counted here too.
    for _ in causes.len()..count {
        errors.forbidden(&Path::new(""), "");
    }
}

/// Why a schema, or one that is in it, cannot be a structural one at all.
fn unsupported(schema: &Value) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 7] = [
        ("id", "OpenAPIV3Schema 'id' is not supported"),
        ("$schema", "OpenAPIV3Schema 'schema' is not supported"),
        ("$ref", "OpenAPIV3Schema '$ref' is not supported"),
        ("patternProperties", "OpenAPIV3Schema 'patternProperties' is not supported"),
        ("dependencies", "OpenAPIV3Schema 'dependencies' is not supported"),
        ("additionalItems", "OpenAPIV3Schema 'additionalItems' is not supported"),
        ("definitions", "OpenAPIV3Schema 'definitions' is not supported"),
    ];
    let mut why = None;
    schema::any(schema, &mut |one| {
        let field = FIELDS.iter().find(|(field, _)| match *field {
            "additionalItems" => !child(one, field).is_null(),
            _ => !is_empty(child(one, field)),
        });
        why = match field {
            Some((_, text)) => Some(*text),
            None if child(one, "x-kubernetes-preserve-unknown-fields") == &Value::Bool(false) => {
                Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")
            }
            None if child(one, "items").as_array().is_some_and(|list| !list.is_empty()) => {
                Some("OpenAPIV3Schema 'items' must be a schema, but is an array")
            }
            None => None,
        };
        why.is_some()
    });
    why
}

fn validate_beside_status(schema: &At<'_>, errors: &mut ErrorList) {
    const ALLOWED: [&str; 22] = [
        "Description",
        "Type",
        "Format",
        "Title",
        "Maximum",
        "ExclusiveMaximum",
        "Minimum",
        "ExclusiveMinimum",
        "MaxLength",
        "MinLength",
        "Pattern",
        "MaxItems",
        "MinItems",
        "UniqueItems",
        "MultipleOf",
        "Required",
        "Items",
        "Properties",
        "ExternalDocs",
        "Example",
        "XPreserveUnknownFields",
        "XValidations",
    ];
    let kind = schema.field("type");
    let wrong_type = !kind.is_empty() && kind.str() != "object";
    match shown::set_fields(schema.value).find(|field| !ALLOWED.contains(field) || (*field == "Type" && wrong_type)) {
        None => {}
        Some("Type") => {
            let detail =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            kind.invalid(errors, detail);
        }
        Some(_) => {
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ALLOWED.join(" ")
            );
            shown::invalid(&schema.path(), &shown::schema(schema.value), &detail, errors);
        }
    }
}
