//! CertificateSigningRequests say who made them: signers trust that, so it never comes from the body.

use api_machinery::{UserInfo, Value};
use serde_json::{Map, json};

use crate::scope::Scope;

/// Writes the request's user over whatever the client set. It stays: the kind's update hook keeps `spec`.
pub(crate) fn record(scope: &Scope<'_>, value: &mut Value) {
    if !scope.is("certificates.k8s.io", "certificatesigningrequests") {
        return;
    }
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        write(spec, &scope.info.user);
    }
}

/// Empty fields are left out, as upstream's types do.
fn write(spec: &mut Map<String, Value>, user: &UserInfo) {
    let fields = [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ];
    for (field, value, empty) in fields {
        if empty {
            spec.remove(field);
        } else {
            spec.insert(field.to_owned(), value);
        }
    }
}
