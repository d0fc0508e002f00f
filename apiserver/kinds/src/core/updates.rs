//! What tells changed objects from new ones, and is looked at in both.

use api_machinery::{ErrorList, Value, object};

use crate::Kind;

/// Whether it is a new object: it is based on no version.
pub(crate) fn is_new(object: &Value) -> bool {
    object::resource_version(object).is_empty()
}

/// The metadata of a changed object as if it were new: the kinds whose update rules include those of creation.
pub(crate) fn validate_metadata(kind: &dyn Kind, object: &Value, namespaced: bool, errors: &mut ErrorList) {
    if !is_new(object) {
        crate::meta::validate(kind, object, namespaced, errors);
    }
}
