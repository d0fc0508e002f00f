//! Versions of a CustomResourceDefinition: schemas, subresources, columns and selectable fields.
//!
//! What is the same in all versions is told of the whole, where upstream keeps it internally.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child, is_empty, same};
use crate::cells;
use crate::list::apiextensions_ratchet::Demands;
use crate::list::{
    apiextensions_field_path as field_path, apiextensions_schema as schema, apiextensions_schema_root as schema_root,
    apiextensions_shown as shown,
};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Bytes of what clients are told of a version that will go.
const MAX_WARNING: usize = 256;
const MAX_SELECTABLE: usize = 8;

/// The parts of a version that move to the whole where all versions have the same.
const SCHEMA: &str = "schema";
const SUBRESOURCES: &str = "subresources";
const COLUMNS: &str = "additionalPrinterColumns";
const SELECTABLE: &str = "selectableFields";
const PARTS: [&str; 4] = [SCHEMA, SUBRESOURCES, COLUMNS, SELECTABLE];

/// The parts that all versions have the same.
fn shared_parts(spec: &Value) -> Vec<&'static str> {
    let versions = cells::list(spec, "versions");
    let is_shared = |part: &&str| {
        versions.first().is_some_and(|first| versions.iter().all(|one| same(child(one, part), child(first, part))))
    };
    PARTS.into_iter().filter(is_shared).collect()
}

/// The schema that all versions have, or else those of each, one after the other.
pub(crate) fn schemas(spec: &Value) -> Vec<&Value> {
    let versions = cells::list(spec, "versions");
    let count = if shared_parts(spec).contains(&SCHEMA) { 1 } else { versions.len() };
    versions.iter().take(count).map(|version| child(version, "schema.openAPIV3Schema")).collect()
}

fn has_status(version: &Value) -> bool {
    child(version, "subresources.status").is_object()
}

pub(crate) fn validate(spec: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) {
    let versions = spec.field("versions");
    let shared = shared_parts(spec.value);
    for version in versions.items() {
        let place = version.field("schema");
        let schema = place.field("openAPIV3Schema");
        if schema.present() {
            continue;
        }
        if demands.schemas {
            schema.required(errors, "");
        } else if version.field("served").flag() && !spec.field("preserveUnknownFields").flag() {
            schema.required(errors, "because otherwise all fields are pruned");
        }
    }
    validate_preserving(spec, errors);
    let mut seen = HashSet::new();
    let mut unique = true;
    for version in versions.items() {
        validate_name(&version.field("name"), errors);
        validate_version(&version, &shared, demands, errors);
        unique &= seen.insert(object::str_at(version.value, "name"));
    }
    let stored = versions.list().iter().filter(|one| child(one, "storage") == &Value::Bool(true)).count();
    for (is_wrong, detail) in [
        (!unique, "must contain unique version names"),
        (stored != 1, "must have exactly one version marked as storage version"),
    ] {
        if is_wrong {
            shown::invalid(&versions.path(), &shown::versions(versions.value, &shared), detail, errors);
        }
    }
    if let Some(name) = versions.list().first().map(|first| child(first, "name")).filter(|name| !is_empty(name)) {
        validate_name(&spec.field("version").with(name), errors);
    }
}

/// Where unknown fields are kept, nothing can be filled in.
fn validate_preserving(spec: &At<'_>, errors: &mut ErrorList) {
    let preserve = spec.field("preserveUnknownFields");
    let has_default = |root: &&Value| schema::any(root, &mut |one| !child(one, "default").is_null());
    if preserve.flag() && schemas(spec.value).iter().any(has_default) {
        preserve.invalid(errors, "must be false in order to use defaults in the schema");
    }
}

/// What is the same in all versions.
pub(crate) fn validate_shared(spec: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) {
    let versions = cells::list(spec.value, "versions");
    let Some(first) = versions.first() else { return };
    let shared = shared_parts(spec.value);
    let has = |part: &str| shared.contains(&part);
    if has(SCHEMA) {
        let place = spec.field("validation").with(child(first, SCHEMA));
        validate_schema(&place, versions.iter().any(has_status), demands, errors);
    }
    if has(SUBRESOURCES) {
        validate_subresources(&spec.field(SUBRESOURCES).with(child(first, SUBRESOURCES)), errors);
    }
    if has(COLUMNS) {
        validate_columns(&spec.field(COLUMNS).with(child(first, COLUMNS)), errors);
    }
    let selectable = spec.field(SELECTABLE).with(child(first, SELECTABLE));
    if has(SELECTABLE) && !selectable.is_empty() {
        if has(SCHEMA) && child(first, SCHEMA).is_object() {
            validate_selectable(&selectable, first, demands, errors);
        } else {
            let detail = "may only be set when validations.schema is included";
            errors.invalid(&selectable.path(), &Value::from(""), detail);
        }
    }
}

fn validate_version(version: &At<'_>, shared: &[&str], demands: &Demands<'_>, errors: &mut ErrorList) {
    validate_warning(version, errors);
    let has_own = |part: &str| !shared.contains(&part);
    if has_own(SCHEMA) {
        validate_schema(&version.field(SCHEMA), has_status(version.value), demands, errors);
    }
    if has_own(SUBRESOURCES) {
        validate_subresources(&version.field(SUBRESOURCES), errors);
    }
    if has_own(COLUMNS) {
        validate_columns(&version.field(COLUMNS), errors);
    }
    let selectable = version.field(SELECTABLE);
    if has_own(SELECTABLE) && !selectable.is_empty() {
        if has_own(SCHEMA) && child(version.value, "schema.openAPIV3Schema").is_object() {
            validate_selectable(&selectable, version.value, demands, errors);
        } else {
            let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
            errors.invalid(&selectable.path(), &Value::from(""), detail);
        }
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
        let detail = "can only be set for deprecated versions";
        return shown::invalid(&warning.path(), &shown::plain(warning.value), detail, errors);
    }
    let mut invalid = |detail: &str| shown::invalid(&warning.path(), &shown::plain(warning.value), detail, errors);
    if warning.str().len() > MAX_WARNING {
        invalid(&format!("must be <= {MAX_WARNING} characters long"));
    }
    if warning.is_empty() {
        invalid("must not be an empty string");
    }
    if let Some((index, _)) = warning.str().char_indices().find(|(_, c)| !is_printable(*c)) {
        let found = format!("non-printable character found at index {index}");
        invalid(&format!("must only contain printable UTF-8 characters; {found}"));
    }
}

/// As Go sees it: of blanks only the space, nothing that is only there to format.
fn is_printable(c: char) -> bool {
    let formats = matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    let is_private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || formats || is_private)
}

fn validate_schema(at: &At<'_>, has_status: bool, demands: &Demands<'_>, errors: &mut ErrorList) {
    let root = at.field("openAPIV3Schema");
    if root.present() {
        schema_root::validate_root(&root, has_status, demands, errors);
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
        let detail = "should be a json path under either .spec or .status";
        shown::invalid(&selector.path(), &shown::plain(selector.value), detail, errors);
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
fn validate_selectable(fields: &At<'_>, version: &Value, demands: &Demands<'_>, errors: &mut ErrorList) {
    let root = child(version, "schema.openAPIV3Schema");
    let mut seen = HashSet::new();
    for field in fields.items() {
        let path = field.field("jsonPath");
        if !path.need(errors) {
            continue;
        }
        let (told, found) = match field_path::resolve(path.str(), root, false) {
            Ok(found) => found,
            Err(why) => {
                path.invalid(errors, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if told.as_str() == "metadata" || told.as_str().starts_with("metadata.") {
            path.invalid(errors, "must not point to fields in metadata");
        }
        if !matches!(child(found, "type").as_str(), Some("string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                          with formats are allowed.";
            path.invalid(errors, detail);
        }
        if !seen.insert(told.to_string()) {
            path.duplicate(errors);
        }
    }
    if seen.len() > MAX_SELECTABLE && !demands.allow_too_many(version, SELECTABLE) {
        errors.too_many(&fields.path(), seen.len(), MAX_SELECTABLE);
    }
}

/// The versions that objects are or were stored in.
pub(crate) fn validate_stored(root: &At<'_>, errors: &mut ErrorList) {
    let (spec, status) = (root.field("spec"), root.field("status"));
    let (versions, stored) = (spec.field("versions"), status.field("storedVersions"));
    if stored.is_empty() {
        return stored.invalid(errors, "must have at least one stored version");
    }
    // A version that comes twice is found once.
    let mut wanted: HashSet<&str> = stored.list().iter().filter_map(Value::as_str).collect();
    for version in versions.list() {
        let name = object::str_at(version, "name");
        if !wanted.remove(name) && child(version, "storage") == &Value::Bool(true) {
            stored.invalid(errors, &format!("must have the storage version {name}"));
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
