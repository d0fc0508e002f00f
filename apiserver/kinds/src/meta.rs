//! Validation of `metadata` as built-in kinds do it: what every object's metadata must be, and finalizers
//! that are either standard or qualified. And what tells changed objects from new ones.

use api_machinery::{ErrorList, GroupResource, Path, Value, meta, object};

use crate::Kind;

/// Random characters the server appends to `generateName`.
pub const RANDOM_SUFFIX_LEN: usize = 5;
/// A longer `generateName` is cut, so that the name is at most 63 long.
pub const MAX_GENERATE_NAME: usize = 63 - RANDOM_SUFFIX_LEN;

const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Besides the core group.
const GROUPS_WITH_STANDARD_FINALIZERS: [&str; 13] = [
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// The name for a `generateName` and a random suffix of [`RANDOM_SUFFIX_LEN`] characters.
pub fn generated_name(base: &str, suffix: &str) -> String {
    let end = (0..=base.len().min(MAX_GENERATE_NAME)).rev().find(|&end| base.is_char_boundary(end)).unwrap_or(0);
    format!("{}{suffix}", &base[..end])
}

/// Whether it is a new object: it is based on no version.
pub(crate) fn is_new(object: &Value) -> bool {
    object::resource_version(object).is_empty()
}

/// What must hold of the metadata of a new object; its name is generated before.
pub fn validate(kind: &dyn Kind, object: &Value, namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    meta::validate_object_meta(object, namespaced, &|name| kind.validate_name(name), &path, errors);
    validate_finalizers(&kind.resource(), object, errors);
}

/// The metadata of a changed object as if it were new: the kinds whose update rules include those of creation.
pub(crate) fn validate_again(kind: &dyn Kind, object: &Value, namespaced: bool, errors: &mut ErrorList) {
    if !is_new(object) {
        validate(kind, object, namespaced, errors);
    }
}

/// Finalizers are standard or qualified, by the rules of most kinds.
pub fn validate_finalizers(resource: &GroupResource, object: &Value, errors: &mut ErrorList) {
    if knows_standard_finalizers(resource) {
        validate_known_finalizers(object, errors);
    }
}

pub(crate) fn validate_known_finalizers(object: &Value, errors: &mut ErrorList) {
    let list = Path::new("metadata").child("finalizers");
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

/// Whether the rules of a kind are those of core's metadata. Upstream's other kinds, and custom resources, leave it at
/// what holds for every object: any qualified name. Events of the new group have it among their own rules.
fn knows_standard_finalizers(resource: &GroupResource) -> bool {
    let core = resource.group.is_empty() && &*resource.resource != "events";
    core || GROUPS_WITH_STANDARD_FINALIZERS.contains(&&*resource.group)
}

/// Has a prefix, or is one that Kubernetes itself uses.
pub(crate) fn finalizer_is_known(finalizer: &str) -> bool {
    finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer)
}
