//! Versions of a CustomResourceDefinition: schemas, subresources, columns and selectable fields.
//!
//! What is the same in all versions is told of the whole, where upstream keeps it internally.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child, is_empty, same};
use crate::list::apiextensions_schema as schema;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Characters of what clients are told of a version that will go.
const MAX_WARNING: usize = 256;
const MAX_SELECTABLE: usize = 8;

/// The parts of a version that move to the whole where all versions have the same.
const SCHEMA: &str = "schema";
const SUBRESOURCES: &str = "subresources";
const COLUMNS: &str = "additionalPrinterColumns";
const SELECTABLE: &str = "selectableFields";

fn is_shared(spec: &At<'_>, part: &str) -> bool {
    let versions = child(spec.value, "versions").as_array().map_or(&[][..], Vec::as_slice);
    versions.first().is_some_and(|first| versions.iter().all(|one| same(child(one, part), child(first, part))))
}

fn first<'v>(spec: &At<'v>) -> Option<&'v Value> {
    child(spec.value, "versions").as_array()?.first()
}

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let versions = spec.field("versions");
    // Where no version has one, that is what all have.
    for version in versions.items() {
        let place = version.field("schema");
        if !place.field("openAPIV3Schema").present() {
            place.field("openAPIV3Schema").required(errors, "");
        }
    }
    let mut seen = HashSet::new();
    let mut unique = true;
    for version in versions.items() {
        validate_name(&version.field("name"), errors);
        validate_version(spec, &version, errors);
        unique &= seen.insert(object::str_at(version.value, "name"));
    }
    if !unique {
        versions.invalid(errors, "must contain unique version names");
    }
    let stored = versions.list().iter().filter(|one| child(one, "storage") == &Value::Bool(true)).count();
    if stored != 1 {
        versions.invalid(errors, "must have exactly one version marked as storage version");
    }
    if let Some(name) = first(spec).map(|first| child(first, "name")).filter(|name| !is_empty(name)) {
        validate_name(&spec.field("version").with(name), errors);
    }
}

/// What is the same in all versions.
pub(crate) fn validate_shared(spec: &At<'_>, errors: &mut ErrorList) {
    let Some(first) = first(spec) else { return };
    if is_shared(spec, SCHEMA) {
        let has_status = child(spec.value, "versions")
            .as_array()
            .is_some_and(|versions| versions.iter().any(|one| child(one, "subresources.status").is_object()));
        validate_schema(&spec.field("validation").with(child(first, SCHEMA)), has_status, errors);
    }
    if is_shared(spec, SUBRESOURCES) {
        validate_subresources(&spec.field(SUBRESOURCES).with(child(first, SUBRESOURCES)), errors);
    }
    if is_shared(spec, COLUMNS) {
        validate_columns(&spec.field(COLUMNS).with(child(first, COLUMNS)), errors);
    }
    if is_shared(spec, SELECTABLE) {
        validate_selectable(&spec.field(SELECTABLE).with(child(first, SELECTABLE)), child(first, SCHEMA), errors);
    }
}

fn validate_version(spec: &At<'_>, version: &At<'_>, errors: &mut ErrorList) {
    validate_warning(version, errors);
    if !is_shared(spec, SCHEMA) {
        let has_status = child(version.value, "subresources.status").is_object();
        validate_schema(&version.field(SCHEMA), has_status, errors);
    }
    if !is_shared(spec, SUBRESOURCES) {
        validate_subresources(&version.field(SUBRESOURCES), errors);
    }
    if !is_shared(spec, COLUMNS) {
        validate_columns(&version.field(COLUMNS), errors);
    }
    if !is_shared(spec, SELECTABLE) {
        validate_selectable(&version.field(SELECTABLE), child(version.value, SCHEMA), errors);
    }
}

fn validate_name(name: &At<'_>, errors: &mut ErrorList) {
    let messages = names::dns1035_label(name.str());
    if !messages.is_empty() {
        name.invalid(errors, &messages.join(","));
    }
}

fn validate_warning(version: &At<'_>, errors: &mut ErrorList) {
    let warning = version.field("deprecationWarning");
    if !warning.present() {
        return;
    }
    if !version.field("deprecated").flag() {
        return warning.invalid(errors, "can only be set for deprecated versions");
    }
    if warning.str().len() > MAX_WARNING {
        warning.invalid(errors, &format!("must be <= {MAX_WARNING} characters long"));
    }
    if warning.is_empty() {
        warning.invalid(errors, "must not be an empty string");
    }
    if let Some((index, _)) = warning.str().char_indices().find(|(_, c)| c.is_control()) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        warning.invalid(errors, &detail);
    }
}

fn validate_schema(at: &At<'_>, has_status: bool, errors: &mut ErrorList) {
    let root = at.field("openAPIV3Schema");
    if root.present() {
        schema::validate_root(&root, has_status, errors);
    }
}

fn validate_subresources(subresources: &At<'_>, errors: &mut ErrorList) {
    let scale = subresources.field("scale");
    if !scale.present() {
        return;
    }
    for (field, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = scale.field(field);
        if path.need(errors) && is_simple_path(&path, errors) && !is_under(path.str(), under) {
            path.invalid(errors, &format!("should be a json path under {under}"));
        }
    }
    let selector = scale.field("labelSelectorPath");
    if !selector.is_empty()
        && is_simple_path(&selector, errors)
        && !is_under(selector.str(), ".spec")
        && !is_under(selector.str(), ".status")
    {
        selector.invalid(errors, "should be a json path under either .spec or .status");
    }
}

fn is_under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

fn is_simple_path(path: &At<'_>, errors: &mut ErrorList) -> bool {
    let simple = path.str().starts_with('.');
    if !simple {
        path.invalid(errors, "must be a simple json path starting with .");
    }
    simple
}

fn validate_columns(columns: &At<'_>, errors: &mut ErrorList) {
    for column in columns.items() {
        column.field("name").need(errors);
        let (kind, format) = (column.field("type"), column.field("format"));
        let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            kind.required(errors, &detail);
        } else if !COLUMN_TYPES.contains(&kind.str()) {
            kind.invalid(errors, &detail);
        }
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format.str()) {
            format.invalid(errors, &format!("must be one of {}", COLUMN_FORMATS.join(",")));
        }
        let path = column.field("JSONPath").with(child(column.value, "jsonPath"));
        if path.need(errors) {
            is_simple_path(&path, errors);
        }
    }
}

/// Paths to plain values of the schema, metadata excepted.
fn validate_selectable(fields: &At<'_>, schema: &Value, errors: &mut ErrorList) {
    let root = child(schema, "openAPIV3Schema");
    let mut seen = HashSet::new();
    for field in fields.items() {
        let path = field.field("jsonPath");
        if !path.need(errors) {
            continue;
        }
        let Some(kind) = kind_at(path.str(), root) else {
            let detail = format!("is an invalid path: does not refer to a valid field: {}", path.str());
            path.invalid(errors, &detail);
            continue;
        };
        if is_under(path.str(), ".metadata") {
            path.invalid(errors, "must not point to fields in metadata");
        }
        if !matches!(kind, "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            path.invalid(errors, detail);
        }
        if !seen.insert(object::str_at(field.value, "jsonPath")) {
            path.duplicate(errors);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.too_many(&fields.path(), seen.len(), MAX_SELECTABLE);
    }
}

/// The type of the schema at a dotted path.
fn kind_at<'s>(path: &str, schema: &'s Value) -> Option<&'s str> {
    let found =
        path.strip_prefix('.')?.split('.').try_fold(schema, |schema, name| child(schema, "properties").get(name))?;
    Some(child(found, "type").as_str().unwrap_or(""))
}

/// The versions that objects are or were stored in.
pub(crate) fn validate_stored(root: &At<'_>, errors: &mut ErrorList) {
    let (spec, status) = (root.field("spec"), root.field("status"));
    let (versions, stored) = (spec.field("versions"), status.field("storedVersions"));
    if stored.is_empty() {
        let shown = Value::Array(Vec::new());
        return errors.invalid(&stored.path(), &shown, "must have at least one stored version");
    }
    for version in versions.list().iter().filter(|one| child(one, "storage") == &Value::Bool(true)) {
        let name = child(version, "name");
        if !stored.list().contains(name) {
            stored.invalid(errors, &format!("must have the storage version {}", name.as_str().unwrap_or("")));
        }
    }
    for version in stored.items() {
        let name = version.str();
        if !versions.list().iter().any(|one| object::str_at(one, "name") == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            version.invalid(errors, &detail);
        }
    }
}
