//! What the three kinds of access reviews ask, and how they may ask it.

use api_machinery::{ErrorList, Value, object};

use crate::at::At;

pub(crate) const GROUP: &str = "authorization.k8s.io";

/// Exactly one thing to be asked about.
pub(crate) fn validate_attributes(spec: &At<'_>, errors: &mut ErrorList) {
    let (resource, path) = (spec.field("resourceAttributes"), spec.field("nonResourceAttributes"));
    match (resource.present(), path.present()) {
        (true, true) => {
            path.invalid(errors, "cannot be specified in combination with resourceAttributes");
        }
        (false, false) => {
            resource.invalid(errors, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
        }
        _ => {}
    }
}

/// Somebody to be asked about.
pub(crate) fn validate_user(spec: &At<'_>, errors: &mut ErrorList) {
    let user = spec.field("user");
    if user.is_empty() && spec.field("groups").is_empty() {
        errors.invalid(&user.path(), &Value::from(""), "at least one of user or group must be specified");
    }
}

/// A local review is of its own namespace and of resources only.
pub(crate) fn validate_local(root: &At<'_>, errors: &mut ErrorList) {
    let namespace = root.field("spec.resourceAttributes.namespace");
    if root.field("spec.resourceAttributes").present() && namespace.str() != object::namespace(root.value) {
        namespace.invalid(errors, "must match metadata.namespace");
    }
    let path = root.field("spec.nonResourceAttributes");
    if path.present() {
        path.invalid(errors, "disallowed on this kind of request");
    }
}
