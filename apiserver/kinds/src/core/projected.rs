//! Validation of projected volumes.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::core_volume as volume;

/// Seconds a token may live at least and at most.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);
/// Of a pod's certificate and bundles nothing is said here: their gates are off, so they are dropped before.
const KINDS: [&str; 4] = ["secret", "configMap", "downwardAPI", "serviceAccountToken"];

pub(crate) fn validate(projected: &At<'_>, errors: &mut ErrorList) {
    volume::mode(&projected.field("defaultMode"), errors);
    let mut taken = HashSet::new();
    for source in projected.field("sources").items() {
        for kind in ["secret", "configMap"] {
            let at = source.field(kind);
            if at.present() {
                at.field("name").need(errors);
                volume::validate_items(&at, errors);
                let shown = Some(object::str_at(at.value, "name"));
                claim_paths(projected, child(child(source.value, kind), "items"), shown, &mut taken, errors);
            }
        }
        let downward = source.field("downwardAPI");
        for item in downward.field("items").items() {
            volume::validate_downward_item(&downward, &item, errors);
        }
        claim_paths(projected, child(source.value, "downwardAPI.items"), None, &mut taken, errors);
        validate_token(projected, &source.field("serviceAccountToken"), errors);
        if KINDS.iter().filter(|kind| source.field(kind).present()).count() > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

/// No two items may be put at one path. `shown`: what upstream shows instead of the path.
fn claim_paths<'a>(
    projected: &At<'_>,
    items: &'a Value,
    shown: Option<&str>,
    taken: &mut HashSet<&'a str>,
    errors: &mut ErrorList,
) {
    for item in items.as_array().into_iter().flatten() {
        let path = object::str_at(item, "path");
        if !path.is_empty() && !taken.insert(path) {
            errors.invalid(&projected.path(), &Value::from(shown.unwrap_or(path)), "conflicting duplicate paths");
        }
    }
}

/// The errors of the path name the volume, not the source, as upstream's.
fn validate_token(projected: &At<'_>, token: &At<'_>, errors: &mut ErrorList) {
    if !token.present() {
        return;
    }
    let seconds = token.field("expirationSeconds");
    let value = seconds.int().unwrap_or(0);
    if value < TOKEN_SECONDS.0 {
        seconds.invalid(errors, "may not specify a duration less than 10 minutes");
    }
    if value > TOKEN_SECONDS.1 {
        seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
    }
    let path = projected.field("path").with(token.field("path").value);
    if path.need(errors) {
        formats::local_non_reserved_path(&path, errors);
    }
}
