//! The rules of `metadata`, the same for every kind. Pure.

use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};

use api_kinds::Kind;
use api_machinery::object::{self, meta_mut};
use api_machinery::quote::quoted;
use api_machinery::{ApiError, GroupResource, Reason, Value, time};
use jiff::Timestamp;
use store_api::Revision;

use crate::scope::Scope;

/// The namespace of a body: taken from the path where it is left out, dropped where there is none.
pub(crate) fn settle_namespace(value: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let given = object::namespace(value);
    if given == namespace {
        return Ok(());
    }
    if given.is_empty() {
        meta_mut(value).insert("namespace".to_owned(), namespace.into());
    } else if namespace.is_empty() {
        meta_mut(value).remove("namespace");
    } else {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The name of a body that is put to a path.
pub(crate) fn check_name(value: &Value, name: &str) -> Result<(), ApiError> {
    let given = object::name(value);
    if given.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// Clients do not choose these.
pub(crate) fn wipe_system_fields(value: &mut Value, dry_run: bool) -> Result<(), ApiError> {
    let meta = meta_mut(value);
    let version = meta.remove("resourceVersion");
    let is_set = |text: &str| text.parse::<u64>().is_ok_and(|version| version != 0);
    // A dry run does not come as far as the store, which minds, and what is no number is not seen there.
    if !dry_run && version.as_ref().and_then(Value::as_str).is_some_and(is_set) {
        let text = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(500, Reason::Unknown, text));
    }
    for field in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(field);
    }
    Ok(())
}

/// Owners that are named twice alike are kept once, and the client is told; `admitted`: after admission changed the
/// object.
pub(crate) fn dedup_owners(value: &mut Value, admitted: bool) -> Option<String> {
    let owners = meta_mut(value).get_mut("ownerReferences")?.as_array_mut()?;
    if owners.len() < 2 {
        return None;
    }
    let mut twice = Vec::new();
    let mut kept: HashMap<String, Vec<Value>> = HashMap::new();
    owners.retain(|owner| {
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or("");
        let seen = kept.entry(uid.to_owned()).or_default();
        if seen.contains(owner) {
            twice.push(uid.to_owned());
            return false;
        }
        seen.push(owner.clone());
        true
    });
    let when = if admitted { " after mutating admission happens" } else { "" };
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// What the server sets on a new object, but for its uid.
pub(crate) fn fill_system_fields(value: &mut Value, kind: &dyn Kind, now: Timestamp) {
    let meta = meta_mut(value);
    meta.insert("creationTimestamp".to_owned(), time::seconds(now).into());
    if kind.has_generation() {
        meta.insert("generation".to_owned(), 1.into());
    }
}

pub(crate) fn set_uid(value: &mut Value, uid: &str) {
    meta_mut(value).insert("uid".to_owned(), uid.into());
}

pub(crate) fn set_resource_version(value: &mut Value, revision: Revision) {
    meta_mut(value).insert("resourceVersion".to_owned(), revision.to_string().into());
}

/// Keeps what an update may not change, whatever the client sent.
pub(crate) fn keep_system_fields(value: &mut Value, old: &Value) {
    let kept = object::meta(old).cloned().unwrap_or_default();
    let meta = meta_mut(value);
    meta.remove("selfLink");
    let mut keep = |field: &str, only_if_unset: bool| {
        if only_if_unset && meta.get(field).is_some_and(|value| value.as_str() != Some("")) {
            return;
        }
        match kept.get(field) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    };
    keep("generation", false);
    keep("creationTimestamp", false);
    keep("uid", true);
    if kept.contains_key("deletionTimestamp") {
        keep("deletionTimestamp", false);
        keep("deletionGracePeriodSeconds", true);
    }
}

/// Counts up `metadata.generation`.
pub(crate) fn grow_generation(value: &mut Value) {
    let next = object::generation(value) + 1;
    meta_mut(value).insert("generation".to_owned(), next.into());
}

/// Which version an update is based on.
pub(crate) enum Base {
    /// The client named it: a conflict is the client's to solve.
    Given(Revision),
    /// Whatever is current: a lost race is tried again.
    Current,
}

/// Reads `metadata.resourceVersion` of an update.
pub(crate) fn base(value: &Value) -> Result<Base, ApiError> {
    match object::resource_version(value) {
        "" | "0" => Ok(Base::Current),
        // Upstream has no code of its own for it, and answers 500; what a client does wrong never is that here.
        text => text.parse().map(Base::Given).map_err(|error: ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            ApiError::bad_request(format!("strconv.ParseUint: parsing {}: {why}", quoted(text)))
        }),
    }
}

/// The `uid` in the body of an update is a precondition.
pub(crate) fn check_uid(scope: &Scope<'_>, value: &Value, old: &Value) -> Result<(), ApiError> {
    let (given, stored) = (object::uid(value), object::uid(old));
    if given.is_empty() || given == stored {
        return Ok(());
    }
    let key = scope.upstream_key();
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
         failed: UID in precondition: {given}, UID in object meta: {stored}"
    );
    Err(ApiError::conflict(&scope.resource.group_resource(), scope.name, &why))
}

/// Whether an update makes a deleting object's end come: nothing holds it any more.
pub(crate) fn ends_deletion(value: &Value, old: &Value, kind_resource: &GroupResource) -> bool {
    if object::deletion_timestamp(old).is_none() || !object::finalizers(value).is_empty() {
        return false;
    }
    let grace = object::meta(old).and_then(|meta| meta.get("deletionGracePeriodSeconds")).and_then(Value::as_i64);
    if grace.unwrap_or(0) != 0 {
        return false;
    }
    let namespace = crate::scope::is(kind_resource, "", "namespaces");
    let held = object::at(value, "spec.finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    !(namespace && held)
}
