//! Other people's clients: kube-rs, the official Python client and client-go, each through two replicas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use system_tests::Cluster;

const NAMESPACE: &str = "default";

#[test]
fn clients_work_through_two_replicas() {
    let cluster = Cluster::up(&["--node", "none", "--no-sample"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(kube_rs(&cluster));
    python(&cluster);
    client_go(&cluster);
}

async fn kube_rs(cluster: &Cluster) {
    let one = chaos::client(&cluster.kubeconfig_of(1)).await.expect("a client");
    let two = chaos::client(&cluster.kubeconfig_of(2)).await.expect("a client");
    let (one, two): (Api<ConfigMap>, Api<ConfigMap>) =
        (Api::namespaced(one, NAMESPACE), Api::namespaced(two, NAMESPACE));
    let list = two.list(&ListParams::default()).await.expect("lists");
    let from = list.metadata.resource_version.expect("a revision");
    let parameters = WatchParams::default().fields("metadata.name=rs").timeout(30);
    let mut events = Box::pin(two.watch(&parameters, &from).await.expect("watches"));

    let object =
        ConfigMap { metadata: ObjectMeta { name: Some("rs".into()), ..Default::default() }, ..Default::default() };
    let created = one.create(&PostParams::default(), &object).await.expect("creates through replica 1");
    // A read through another replica right after the write must see it.
    let read = two.get("rs").await.expect("reads through replica 2");
    assert_eq!(read.metadata.resource_version, created.metadata.resource_version);
    let patch = serde_json::json!({"data": {"k": "v"}});
    two.patch("rs", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches through replica 2");
    assert_eq!(one.get("rs").await.expect("reads").data, Some(BTreeMap::from([("k".into(), "v".into())])));
    let stale = one.replace("rs", &PostParams::default(), &created).await;
    assert!(
        matches!(&stale, Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "Conflict"),
        "{stale:?}"
    );
    one.delete("rs", &DeleteParams::default()).await.expect("deletes through replica 1");

    let mut seen = Vec::new();
    while seen.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(10), events.try_next()).await.expect("in time");
        seen.push(match next.expect("no error").expect("not ended") {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
        });
    }
    assert_eq!(seen, ["ADDED", "MODIFIED", "DELETED"]);
    println!("kube-rs: created, read, patched, refused when stale, deleted, watched through two replicas");
}

fn python(cluster: &Cluster) {
    let tools = std::env::var("KONTIKI_TOOLS").unwrap_or_default();
    let interpreter = Path::new(&tools).join("python/bin/python");
    if !interpreter.is_file() {
        return println!("skipped: the Python client is not installed (make test installs it)");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/client.py");
    let output = Command::new(interpreter)
        .arg(script)
        .args([cluster.kubeconfig_of(1), cluster.kubeconfig_of(2)])
        .output()
        .expect("python runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `GOCODE` names the directory of packages that are compiled with it, where it is not Debian's; `GO` the compiler.
fn client_go(cluster: &Cluster) {
    let named = |variable: &str, otherwise: &str| PathBuf::from(std::env::var_os(variable).unwrap_or(otherwise.into()));
    let (code, go) = (named("GOCODE", "/usr/share/gocode"), named("GO", "go"));
    let compiler = Command::new(&go).arg("version").output();
    if !code.join("src/k8s.io/client-go").is_dir() || compiler.is_err() {
        return println!("skipped: client-go is not installed (Debian: golang-go, golang-k8s-client-go-dev)");
    }
    let built = tempfile::tempdir().expect("a directory");
    let program = built.path().join("client");
    let status = Command::new(&go)
        .args(["build", "-o"])
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/client.go"))
        .env("GOPATH", &code)
        .envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .status();
    assert!(status.expect("go runs").success(), "the program is not compiled");
    let output = Command::new(&program).args([cluster.kubeconfig_of(1), cluster.kubeconfig_of(2)]).output();
    let output = output.expect("the program runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
