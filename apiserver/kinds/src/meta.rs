//! Validation of `metadata` as built-in kinds do it: what every object's metadata must be, and finalizers
//! that are either standard or qualified.

use api_machinery::{ErrorList, Path, Value, meta, object};

use crate::Kind;

/// Random characters the server appends to `generateName`.
pub const RANDOM_SUFFIX_LEN: usize = 5;
/// A longer `generateName` is cut, so that the name is at most 63 long.
pub const MAX_GENERATE_NAME: usize = 63 - RANDOM_SUFFIX_LEN;

const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// The name for a `generateName` and a random suffix of [`RANDOM_SUFFIX_LEN`] characters.
pub fn generated_name(base: &str, suffix: &str) -> String {
    let end = (0..=base.len().min(MAX_GENERATE_NAME)).rev().find(|&end| base.is_char_boundary(end)).unwrap_or(0);
    format!("{}{suffix}", &base[..end])
}

/// What must hold of the metadata of a new object; its name is generated before.
pub fn validate(kind: &dyn Kind, object: &Value, namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    meta::validate_object_meta(object, namespaced, &|name| kind.validate_name(name), &path, errors);
    let list = path.child("finalizers");
    for (index, finalizer) in object::finalizers(object).into_iter().enumerate() {
        if !finalizer_is_known(finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&list.index(index), &finalizer.into(), detail);
        }
    }
}

/// What must hold of changed metadata; `old` is what is stored.
pub fn validate_update(object: &Value, old: &Value, errors: &mut ErrorList) {
    meta::validate_object_meta_update(object, old, &Path::new("metadata"), errors);
}

/// Has a prefix, or is one that Kubernetes itself uses.
pub(crate) fn finalizer_is_known(finalizer: &str) -> bool {
    finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer)
}
