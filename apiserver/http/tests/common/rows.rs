//! What rows of the list of attacks try, here in process and in `tests/tests/attacks` on the built server.

use serde_json::{Value, json};

/// Ways to write the path of a namespace's secrets, or through another namespace, for one who may read pods only, and
/// what whoever may do everything is answered (A12): a path that has another spelling is refused before anybody asks
/// who may what, and one that names nothing is not found.
pub(crate) const SECRETS_BY_OTHER_PATHS: [(&str, u16); 25] = [
    ("/api/v1/namespaces/default/pods/../secrets", 400),
    ("/api/v1/namespaces/default/pods/%2e%2e/secrets", 400),
    ("/api/v1/namespaces/default/pods/.%2E/secrets", 400),
    ("/api/v1/namespaces/default/pods/..%2fsecrets", 400),
    ("/api/v1/namespaces/default/pods/%252e%252e/secrets", 400),
    ("/api/v1/namespaces/default/pods%5c..%5csecrets", 400),
    ("/api/v1/namespaces/default//secrets", 400),
    ("/api/v1//namespaces/default/secrets", 400),
    ("//api/v1/namespaces/default/secrets", 400),
    ("/api/v1/namespaces/default/./secrets", 400),
    ("/api/v1/namespaces/default/secrets;/pods", 404),
    ("/api/v1/namespaces/default/pods;a=b/../../kube-system/secrets", 400),
    ("/api/v1/namespaces/default/secrets.", 404),
    ("/api/v1/namespaces/default/Secrets", 404),
    ("/api/v1/namespaces/default/%53ecrets", 404),
    ("/API/v1/namespaces/default/secrets", 404),
    ("/api/V1/namespaces/default/secrets", 404),
    ("/api/v1/namespaces/default/pods%00/secrets", 400),
    ("/api/v1/namespaces/default/secrets%00", 400),
    ("/api/v1/namespaces/default/%c0%ae%c0%ae/secrets", 400),
    ("/api/v1/namespaces/default/pods/%", 400),
    ("/api/v1/namespaces/default%2fpods/secrets", 400),
    ("/api/v1/namespaces/kube-system/pods/../../default/pods", 400),
    ("/api/v1/namespaces/default/pods/x/../../../secrets", 400),
    ("/api/v1/namespaces/default/pods/x/log/../../../secrets", 400),
];

/// What one who may read pods only is answered where one who may do everything is answered `code`: what is not there
/// cannot be told from what is forbidden.
pub(crate) fn for_a_reader(code: u16) -> u16 {
    if code == 404 { 403 } else { code }
}

/// Escapes that are no other spelling: whoever decides and whoever reads see what they stand for (A12). With the code
/// for one who may read pods only.
pub(crate) const ESCAPED: [(&str, u16); 4] = [
    ("/api/v1/namespaces/default/%70ods", 200),
    ("/api/v1/%6eamespaces/default/pods", 200),
    ("/api/v1/namespaces/default/%73ecrets", 403),
    ("/%61pi/v1/namespaces/default/secret%73", 403),
];

/// A JSON patch in which every copy doubles what the next one copies (A50).
pub(crate) fn doubling_copies() -> Value {
    let first = json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x"}});
    let copy = |index| json!({"op": "copy", "from": "/metadata/annotations", "path": format!("/metadata/annotations/c{index}")});
    std::iter::once(first).chain((0..40).map(copy)).collect()
}
