//! A standard kube-apiserver keeps its objects in our store, where its program is named: everything that it asks of
//! etcd is answered as etcd answers it, also while a replica of the store is gone, and after a compaction.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use system_tests::client::{authority, certify, now, serving};
use system_tests::programs::named;
use system_tests::servers::{Running, free_port};
use system_tests::store::{Access, Store};
use system_tests::watching::Watching;
use system_tests::{Kubectl, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
/// How often it compacts: it forgets what was the newest at the time before.
const COMPACTION: &str = "5s";
const MAPS: usize = 300;

/// With certificates of its own in a directory of its own.
struct Upstream {
    program: PathBuf,
    port: u16,
    dir: tempfile::TempDir,
}

impl Upstream {
    fn new(program: PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = authority("upstream-ca");
        std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).expect("written");
        ca.issue(&serving("kube-apiserver"), now())
            .expect("a certificate")
            .write(dir.path(), "server")
            .expect("written");
        certify(&ca, dir.path(), "admin", &["system:masters"]);
        let upstream = Self { program, port: free_port(), dir };
        std::fs::write(upstream.file("kubeconfig"), upstream.kubeconfig()).expect("written");
        upstream
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kubeconfig(&self) -> String {
        let file = |name: &str| self.file(name).display().to_string();
        let user = format!("{{client-certificate: {}, client-key: {}}}", file("admin.crt"), file("admin.key"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {user}}}]\n",
            self.port,
            file("ca.crt"),
        )
    }

    /// Returns once it is ready.
    fn start(&self, store: &Access) -> Running {
        let file = |name: &str| self.file(name).display().to_string();
        let given = |path: &Path| path.display().to_string();
        let options = [
            ("secure-port", self.port.to_string()),
            ("bind-address", "127.0.0.1".to_owned()),
            // It refuses to advertise a loopback address.
            ("advertise-address", "192.0.2.1".to_owned()),
            ("etcd-servers", store.endpoints.join(",")),
            ("etcd-cafile", given(&store.ca)),
            ("etcd-certfile", given(&store.certificate)),
            ("etcd-keyfile", given(&store.key)),
            ("etcd-compaction-interval", COMPACTION.to_owned()),
            ("tls-cert-file", file("server.crt")),
            ("tls-private-key-file", file("server.key")),
            ("client-ca-file", file("ca.crt")),
            ("authorization-mode", "RBAC".to_owned()),
            ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-key-file", file("server.crt")),
            ("service-account-signing-key-file", file("server.key")),
            ("cert-dir", file("made")),
        ];
        let mut command = Command::new(&self.program);
        command.args(options.map(|(name, value)| format!("--{name}={value}")));
        let running = Running::start(&mut command, self.file("log"));
        let kubectl = Kubectl::find(self.file("kubeconfig")).expect("it was found before");
        eventually("it is ready", PATIENCE, || {
            let answer = kubectl.command(&["get", "--raw", "/readyz"]).stderr(Stdio::null()).output();
            (answer.expect("kubectl runs").stdout == b"ok").then_some(())
        });
        running
    }
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '{value}'}}\n")
}

#[test]
fn a_standard_apiserver_keeps_its_objects_here() {
    let Some(program) = named("KUBE_APISERVER") else { return };
    if Kubectl::find(PathBuf::new()).is_none() {
        return;
    }
    let (store, upstream) = (Store::up(), Upstream::new(program));
    let running = upstream.start(&store.access());
    let kubectl = Kubectl::find(upstream.file("kubeconfig")).expect("it was found before");
    let in_it = |arguments: &[&str]| kubectl.ok(&[&["-n", "work"], arguments].concat());
    let count = |arguments: &[&str]| in_it(&[&["get", "configmaps", "-l", "!odd", "-o", "name"], arguments].concat());

    kubectl.ok(&["create", "namespace", "work"]);
    let all: Vec<String> = (0..MAPS).map(|number| map(&format!("map-{number:03}"), "1")).collect();
    kubectl.with_input(&["-n", "work", "create", "-f", "-"], &all.join("---\n"));
    assert_eq!(count(&["--chunk-size=50"]).lines().count(), MAPS, "page by page");
    writes_are_told_apart(&kubectl);
    watches_see_everything(&kubectl);
    let old = kubectl.json(&["-n", "work", "get", "configmap", "map-000"]);
    let old = old["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();

    // A member that is gone is missed by nobody.
    store.kill("replica-1");
    for number in 0..30 {
        in_it(&["label", "--overwrite", "configmap", "map-007", &format!("round={number}")]);
    }
    assert_eq!(count(&[]).lines().count(), MAPS);

    let exactly =
        format!("/api/v1/namespaces/work/configmaps?resourceVersion={old}&resourceVersionMatch=Exact&limit=1");
    let mut written = 0;
    eventually("what is old is compacted away", PATIENCE, || {
        // Only what is written moves the point that it compacts to.
        written += 1;
        in_it(&["label", "--overwrite", "configmap", "map-008", &format!("round={written}")]);
        let answer = kubectl.output(&["get", "--raw", &exactly]);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        (!answer.status.success()).then(|| assert!(said.contains("too old") || said.contains("expired"), "{said}"))
    });

    in_it(&["delete", "configmaps", "--all", "--wait=false"]);
    in_it(&["create", "configmap", "last", "--from-literal=a=1"]);
    drop(running);
    let _again = upstream.start(&store.access());
    assert_eq!(count(&[]), "configmap/last\n", "after a restart");
    let log = std::fs::read_to_string(upstream.file("log")).expect("a log");
    let strange: Vec<&str> = log.lines().filter(|line| is_strange(line)).collect();
    assert!(strange.is_empty(), "the store lacks something: {}", strange.join("\n"));
}

/// What a server of ours would say that lacks something, or a client that does not understand an answer.
fn is_strange(line: &str) -> bool {
    let line = line.to_lowercase();
    ["unimplemented", "not implemented", "unknown service", "unknown method", "panic"]
        .iter()
        .any(|part| line.contains(part))
}

/// Stale versions, deletes with preconditions and apply's conflicts: transactions that compare.
fn writes_are_told_apart(kubectl: &Kubectl) {
    let stale = kubectl.ok(&["-n", "work", "get", "configmap", "map-001", "-o", "yaml"]);
    kubectl.ok(&["-n", "work", "patch", "configmap", "map-001", "-p", r#"{"data":{"a":"2"}}"#]);
    let refused = kubectl.refused_input(&["-n", "work", "replace", "-f", "-"], &stale);
    assert!(refused.contains("the object has been modified"), "{refused}");
    let again = kubectl.refused_input(&["-n", "work", "create", "-f", "-"], &map("map-001", "1"));
    assert!(again.contains("already exists"), "{again}");
    let apply = ["-n", "work", "apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = kubectl.refused_input(&apply, &map("map-001", "3"));
    assert!(conflict.contains("conflict"), "{conflict}");
}

/// A change, one object more and one less, in order.
fn watches_see_everything(kubectl: &Kubectl) {
    let mut watch = Watching::start(kubectl, &["-n", "work", "get", "configmaps", "-l", "odd"]);
    kubectl.ok(&["-n", "work", "label", "configmap", "map-002", "odd=1"]);
    // The watch is open when it says the first.
    let mut seen = vec![watch.event()];
    kubectl.ok(&["-n", "work", "patch", "configmap", "map-002", "-p", r#"{"data":{"a":"2"}}"#]);
    kubectl.ok(&["-n", "work", "label", "configmap", "map-002", "odd-"]);
    seen.extend((0..2).map(|_| watch.event()));
    assert_eq!(seen, ["ADDED map-002", "MODIFIED map-002", "DELETED map-002"]);
}
