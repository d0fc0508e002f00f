//! What rows of the list of attacks try, here in process and in `tests/tests/attacks` on the built server.

use serde_json::{Value, json};

/// Ways to write the path of a namespace's secrets, or through another namespace, for one who may read pods only (A12).
pub(crate) const SECRETS_BY_OTHER_PATHS: [&str; 17] = [
    "/api/v1/namespaces/default/pods/../secrets",
    "/api/v1/namespaces/default/pods/%2e%2e/secrets",
    "/api/v1/namespaces/default/pods/..%2fsecrets",
    "/api/v1/namespaces/default//secrets",
    "/api/v1//namespaces/default/secrets",
    "//api/v1/namespaces/default/secrets",
    "/api/v1/namespaces/default/./secrets",
    "/api/v1/namespaces/default/secrets;/pods",
    "/api/v1/namespaces/default/pods;a=b/../../kube-system/secrets",
    "/api/v1/namespaces/default/secrets.",
    "/api/v1/namespaces/default/Secrets",
    "/API/v1/namespaces/default/secrets",
    "/api/v1/namespaces/default/pods%00/secrets",
    "/api/v1/namespaces/default/%c0%ae%c0%ae/secrets",
    "/api/v1/namespaces/default%2fpods/secrets",
    "/api/v1/namespaces/kube-system/pods/../../default/pods",
    "/api/v1/namespaces/default/pods/x/../../../secrets",
];

/// A JSON patch in which every copy doubles what the next one copies (A50).
pub(crate) fn doubling_copies() -> Value {
    let first = json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x"}});
    let copy = |index| json!({"op": "copy", "from": "/metadata/annotations", "path": format!("/metadata/annotations/c{index}")});
    std::iter::once(first).chain((0..40).map(copy)).collect()
}
