//! Certificates on real processes: a node joins by TLS bootstrap, certificates and the CA are replaced under a running
//! server, secrets are encrypted on its disk.

use std::time::Duration;

use system_tests::eventually;
use system_tests::servers::{Agent, Server, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// Both outputs of an admin command that must succeed.
fn said(server: &Server, arguments: &[&str]) -> String {
    let output = server.kontiki(arguments);
    let text = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn certificates_change_under_a_running_server() {
    let configuration = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        configuration.path(),
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers: [{aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]\n",
    )
    .expect("written");
    let mut server = Server::new();
    server.start(&["--init", "--encryption-provider-config", &configuration.path().display().to_string()]);
    eventually("the server serves", PATIENCE, || server.replicas());
    let token = server.token("agent");
    let rotated = said(&server, &["encryption", "rotate"]);
    assert!(rotated.contains(" 0 encrypted anew"), "the token was encrypted when it was written: {rotated}");

    // No runtime is there: the node has joined when it has its certificates.
    let (how, socket) = (["--join", &server.url(), "--token", &token], ["--runtime-socket", "/nonexistent.sock"]);
    let agent = Agent::start(&[&how[..], &["--node-name", "n1"], &socket].concat());
    eventually("the node has joined", PATIENCE, || agent.dir.join("agent.yaml").exists().then_some(()));
    let identity = std::fs::read_to_string(agent.dir.join("node.kubeconfig")).expect("an identity");
    assert!(identity.contains("system:node:n1") && identity.contains("client-certificate-data:"), "{identity}");

    let listed = said(&server, &["cert", "list"]);
    for name in ["apiserver ", "apiserver-kubelet-client ", "peer ", "ca ", "peer-ca "] {
        assert!(listed.contains(name), "{name}: {listed}");
    }
    assert!(said(&server, &["cert", "renew"]).contains("3 certificates renewed"));
    let shown = || std::fs::read(server.dir.join("certificates/apiserver.crt")).expect("a certificate");
    let before = shown();
    said(&server, &["cert", "rotate-ca"]);
    assert_ne!(shown(), before, "of the new CA");
    eventually("both CAs are trusted", PATIENCE, || server.replicas());
    let old = std::fs::read_to_string(server.kubeconfig()).expect("credentials");
    said(&server, &["cert", "rotate-ca", "--finish"]);
    let new = std::fs::read_to_string(server.kubeconfig()).expect("credentials");
    assert_ne!(old, new, "the server renews what it gave its admin");
    eventually("the new CA alone is enough", PATIENCE, || server.replicas());
    said(&server, &["cert", "rotate-ca", "--ca", "peer"]);
    said(&server, &["cert", "rotate-ca", "--ca", "peer", "--finish"]);
    eventually("the server still serves", PATIENCE, || server.replicas());
}
