//! Certificate signing requests and join tokens: one state, one plan. `UPDATE_EXPECT=1` rewrites it.

use crate::fake::Fake;
use controller_logic::bootstrap::{BootstrapSigner, TokenCleaner};
use controller_logic::certificates::{CsrApprovingController, CsrCleanerController, CsrSigningController};
use controller_logic::{Controller, Kind};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

/// `O=system:nodes, CN=system:node:n1`
const NODE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIck1JR1NBZ0VBTURBeEZUQVRCZ05WQkFvTURITjVjM1JsYlRw\
    dWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNB\
    QVFPY0ZwUi8vTFNncWRlCnJlUU51c0E5TnYybFJYNjQ0UWhtd0wzUmd5VFp0c0tHekZmV2RoTHE0amFmOTMycC9TQzlRRnJXODBp\
    NE1EeFMKeGFRaC9rSXlvQUF3Q2dZSUtvWkl6ajBFQXdJRFNBQXdSUUlnYnZCZ1Fwcnh3dnQvQlJMdm5TRytwN01VWWZ4RQovTksx\
    TTBuYlNOem1nQTBDSVFDYWFkSGRDWWhmRWwyNVVyWDhSZVQwa3pwSUJaeFYyQjRmM1BaNzQvQ1M1UT09Ci0tLS0tRU5EIENFUlRJ\
    RklDQVRFIFJFUVVFU1QtLS0tLQo=";
const START: &str = "2026-01-01T00:00:00Z";

fn request(signer: &str, username: &str, usages: &[&str], conditions: Value) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "csr-1", "uid": "u1"},
        "spec": {"signerName": signer, "username": username, "groups": ["system:bootstrappers"], "usages": usages,
            "request": NODE, "expirationSeconds": 3600},
        "status": {"conditions": conditions},
    })
}

fn kubelet(username: &str, conditions: Value) -> Value {
    let usages = ["digital signature", "client auth"];
    request("kubernetes.io/kube-apiserver-client-kubelet", username, &usages, conditions)
}

fn said(kind: &str, at: &str) -> Value {
    json!({"type": kind, "status": "True", "lastUpdateTime": at, "lastTransitionTime": at})
}

fn plan(controller: &dyn Controller, key: &str, objects: &[Value]) -> String {
    let mut fake = Fake::new(Vec::new());
    objects.iter().for_each(|object| drop(fake.put(object.clone())));
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    fake.plan(controller, namespace, name).to_string()
}

fn check(controller: &dyn Controller, key: &str, objects: &[Value], expected: &Expect) {
    expected.assert_eq(&plan(controller, key, objects));
}

#[test]
fn kubelets_are_approved_when_they_may() {
    let approving = CsrApprovingController;
    check(
        &approving,
        "csr-1",
        &[kubelet("system:bootstrap:abcdef", json!([]))],
        &expect![[r#"
            the first that is allowed of 1
              if system:bootstrap:abcdef may create certificatesigningrequests/nodeclient.certificates.k8s.io: patch approval certificatesigningrequests.certificates.k8s.io csr-1 {"metadata":{"resourceVersion":"1","uid":"u1"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Auto approving kubelet client certificate after SubjectAccessReview.","reason":"AutoApproved","status":"True","type":"Approved"}]}}
            again in 30s
        "#]],
    );
    let own = plan(&approving, "csr-1", &[kubelet("system:node:n1", json!([]))]);
    assert!(own.contains("of 2\n  if system:node:n1 may create certificatesigningrequests/selfnodeclient"), "{own}");
    let other = plan(&approving, "csr-1", &[kubelet("system:node:n2", json!([]))]);
    assert!(other.contains("of 1\n  if system:node:n2 may create certificatesigningrequests/nodeclient"), "{other}");
    let serving =
        request("kubernetes.io/kubelet-serving", "system:node:n1", &["digital signature", "server auth"], json!([]));
    let odd = request("kubernetes.io/kube-apiserver-client-kubelet", "x", &["client auth", "cert sign"], json!([]));
    for not in [
        kubelet("system:node:n1", json!([said("Denied", START)])),
        kubelet("system:node:n1", json!([said("Approved", START)])),
        serving,
        odd,
    ] {
        assert_eq!(plan(&approving, "csr-1", std::slice::from_ref(&not)), "nothing\n", "{not}");
    }
}

#[test]
fn what_is_approved_is_signed_by_the_rules() {
    let signing = CsrSigningController;
    let approved = json!([said("Approved", START)]);
    check(
        &signing,
        "csr-1",
        &[kubelet("system:node:n1", approved.clone())],
        &expect![[r#"
            sign certificatesigningrequests.certificates.k8s.io csr-1 for digital signature, client auth, 3600 seconds
        "#]],
    );
    check(
        &signing,
        "csr-1",
        &[request(
            "kubernetes.io/kubelet-serving",
            "system:node:n1",
            &["server auth", "digital signature"],
            approved.clone(),
        )],
        &expect![[r#"
            patch status certificatesigningrequests.certificates.k8s.io csr-1 {"metadata":{"uid":"u1"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","status":"True","type":"Approved"},{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"DNS or IP subjectAltName is required","reason":"SignerValidationFailure","status":"True","type":"Failed"}]}}
        "#]],
    );
    let mut issued = kubelet("system:node:n1", approved.clone());
    issued["status"]["certificate"] = json!("eA==");
    for not in [
        issued,
        kubelet("system:node:n1", json!([])),
        kubelet("system:node:n1", json!([said("Approved", START), said("Denied", START)])),
        kubelet("system:node:n1", json!([said("Approved", START), said("Failed", START)])),
        request("example.com/signer", "jane", &["client auth"], approved),
    ] {
        assert_eq!(plan(&signing, "csr-1", std::slice::from_ref(&not)), "nothing\n", "{not}");
    }
}

#[test]
fn requests_are_cleared_away_at_their_age() {
    for (conditions, minutes) in [
        (json!([]), 24 * 60),
        (json!([said("Approved", START)]), 60),
        (json!([said("Denied", START)]), 60),
        (json!([said("Failed", START)]), 60),
    ] {
        let mut fake = Fake::new(Vec::new());
        fake.put(kubelet("jane", conditions.clone()));
        fake.pass(minutes * 60);
        assert_eq!(fake.plan(&CsrCleanerController, "", "csr-1").to_string(), "nothing\n", "{conditions}");
        fake.pass(1);
        let over = fake.plan(&CsrCleanerController, "", "csr-1").to_string();
        assert_eq!(over, "delete certificatesigningrequests.certificates.k8s.io csr-1 uid=u1\n", "{conditions}");
    }
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let number = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = |place: usize| match place <= chunk.len() {
            true => char::from(ALPHABET[(number >> (18 - 6 * place) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(group).collect()
}

fn token(id: &str, fields: &[(&str, &str)]) -> Value {
    let mut data = json!({"token-id": base64(id), "token-secret": base64("0123456789abcdef")});
    for (name, value) in fields {
        data[*name] = base64(value).into();
    }
    json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token", "data": data,
        "metadata": {"namespace": "kube-system", "name": format!("bootstrap-token-{id}"), "uid": id}})
}

fn cluster_info(extra: Option<(&str, &str)>) -> Value {
    let mut data = json!({"kubeconfig": "apiVersion: v1\n"});
    if let Some((name, value)) = extra {
        data[name] = value.into();
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"namespace": "kube-public", "name": "cluster-info", "uid": "info"}})
}

#[test]
fn every_signing_token_signs_what_is_known_of_the_cluster() {
    let signs = ("usage-bootstrap-signing", "true");
    check(
        &BootstrapSigner,
        "kube-public/cluster-info",
        &[
            cluster_info(Some(("jws-kubeconfig-goneaa", "old"))),
            token("abcdef", &[signs]),
            token("silent", &[]),
            token("expire", &[signs, ("expiration", "2025-12-31T23:59:59Z")]),
            token("badend", &[signs, ("expiration", "soon")]),
        ],
        &expect![[r#"
            patch configmaps kube-public/cluster-info {"data":{"jws-kubeconfig-abcdef":"eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..K1chermAQEq0rdqy-ehj0VDfmA_ytv8Wzh9g26FldrE","jws-kubeconfig-goneaa":null},"metadata":{"uid":"info"}}
        "#]],
    );
}

#[test]
fn expired_tokens_go() {
    let expiring = |end: &str| token("abcdef", &[("expiration", end)]);
    let key = "kube-system/bootstrap-token-abcdef";
    let gone = "delete secrets kube-system/bootstrap-token-abcdef uid=abcdef\n";
    for (end, want) in
        [("2025-12-31T23:59:59Z", gone), (START, gone), ("never", gone), ("2026-01-01T00:01:00Z", "again in 61s\n")]
    {
        assert_eq!(plan(&TokenCleaner, key, &[expiring(end)]), want, "{end}");
    }
    assert_eq!(plan(&TokenCleaner, key, &[token("abcdef", &[])]), "nothing\n");
}

/// All of it together, until nothing is left to do.
#[test]
fn a_token_that_ends_takes_its_signature_along() {
    let mut fake = Fake::new(vec![Box::new(BootstrapSigner), Box::new(TokenCleaner)]);
    fake.put(cluster_info(None));
    fake.put(token("abcdef", &[("usage-bootstrap-signing", "true"), ("expiration", "2026-01-01T00:01:00Z")]));
    while fake.step() {}
    let signed = |fake: &Fake| fake.of(Kind::ConfigMap)[0]["data"]["jws-kubeconfig-abcdef"].is_string();
    assert!(signed(&fake), "signed while it is good");
    fake.pass(61);
    fake.wake(1, "kube-system", "bootstrap-token-abcdef");
    while fake.step() {}
    assert!(!signed(&fake) && fake.of(Kind::Secret).is_empty(), "and neither afterwards");
}
