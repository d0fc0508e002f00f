//! Certificates on real processes: a node joins by TLS bootstrap, certificates and the CA are replaced under a running
//! server, secrets are encrypted on its disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use system_tests::{binary, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    process: Child,
    dir: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ports of one test process do not meet those of another.
fn port(offset: u16) -> u16 {
    let process = u16::try_from(std::process::id() % 100).unwrap_or(0);
    26_500 + process * 10 + offset
}

fn start(how: &[&str]) -> Process {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    std::fs::create_dir(&dir).expect("a directory");
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    let process = Command::new(binary())
        .args(how)
        .arg("--data-dir")
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("kontiki starts");
    Process { process, dir, _temporary: temporary }
}

fn kontiki(arguments: &[&str], kubeconfig: &Path) -> Output {
    Command::new(binary()).args(arguments).arg("--kubeconfig").arg(kubeconfig).output().expect("kontiki runs")
}

fn said(arguments: &[&str], kubeconfig: &Path) -> String {
    let output = kontiki(arguments, kubeconfig);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

fn serves(admin: &Path) -> Option<()> {
    let output = kontiki(&["status", "-o", "json"], admin);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    (status["replicas"][0]["reachable"] == true).then_some(())
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
    let (api, peer) = (port(0).to_string(), port(1).to_string());
    let server = start(&[
        "server",
        "--init",
        "--advertise",
        "127.0.0.1",
        "--api-port",
        &api,
        "--peer-port",
        &peer,
        "--encryption-provider-config",
        &configuration.path().display().to_string(),
    ]);
    let admin = server.dir.join("admin.kubeconfig");
    eventually("the server serves", PATIENCE, || serves(&admin));
    let token = eventually("a token", PATIENCE, || {
        let output = kontiki(&["token", "create", "--for", "agent"], &admin);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let rotated = said(&["encryption", "rotate"], &admin);
    assert!(rotated.contains(" 0 encrypted anew"), "the token was encrypted when it was written: {rotated}");

    // No runtime is there: the node has joined when it has its certificates.
    let url = format!("https://127.0.0.1:{api}");
    let join =
        ["agent", "--join", &url, "--token", &token, "--node-name", "n1", "--runtime-socket", "/nonexistent.sock"];
    let agent = start(&join);
    eventually("the node has joined", PATIENCE, || agent.dir.join("agent.yaml").exists().then_some(()));
    let identity = std::fs::read_to_string(agent.dir.join("node.kubeconfig")).expect("an identity");
    assert!(identity.contains("system:node:n1") && identity.contains("client-certificate-data:"), "{identity}");

    let listed = said(&["cert", "list"], &admin);
    for name in ["apiserver ", "apiserver-kubelet-client ", "peer ", "ca ", "peer-ca "] {
        assert!(listed.contains(name), "{name}: {listed}");
    }
    assert!(said(&["cert", "renew"], &admin).contains("3 certificates renewed"));
    let shown = || std::fs::read(server.dir.join("certificates/apiserver.crt")).expect("a certificate");
    let before = shown();
    said(&["cert", "rotate-ca"], &admin);
    assert_ne!(shown(), before, "of the new CA");
    eventually("both CAs are trusted", PATIENCE, || serves(&admin));
    let old = std::fs::read_to_string(&admin).expect("credentials");
    said(&["cert", "rotate-ca", "--finish"], &admin);
    let new = std::fs::read_to_string(&admin).expect("credentials");
    assert_ne!(old, new, "the server renews what it gave its admin");
    eventually("the new CA alone is enough", PATIENCE, || serves(&admin));
    said(&["cert", "rotate-ca", "--ca", "peer"], &admin);
    said(&["cert", "rotate-ca", "--ca", "peer", "--finish"], &admin);
    eventually("the server still serves", PATIENCE, || serves(&admin));
}
