//! The real kubectl against this server, where there is one: discovery, apply, explain, tables, waiting.

use std::process::Stdio;
use std::time::Duration;

use crate::common::Running;
use expect_test::expect;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

struct Kubectl {
    program: std::path::PathBuf,
    config: String,
    home: std::path::PathBuf,
}

impl Kubectl {
    /// `None` where `KUBECTL` names no kubectl: the words below are those of one version, which `make test` fetches.
    fn new(server: &Running) -> Option<Self> {
        let program = std::env::var_os("KUBECTL").map(std::path::PathBuf::from).filter(|path| path.is_file());
        if program.is_none() {
            println!("skipped: KUBECTL names no kubectl");
        }
        let program = program?;
        let dir = server.dir.path();
        let config = dir.join("kubeconfig");
        let file = |name: &str| dir.join(name).display().to_string();
        let text = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{"name": "t", "cluster": {"server": format!("https://{}", server.address), "certificate-authority": file("ca.crt")}}],
            "users": [{"name": "t", "user": {"client-certificate": file("client.crt"), "client-key": file("client.key")}}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}]});
        std::fs::write(&config, text.to_string()).expect("writes");
        Some(Self { program, config: config.display().to_string(), home: dir.to_owned() })
    }

    /// Standard output and error of `kubectl ARGS`, with `input` as `-f -`.
    async fn run(&self, arguments: &str, input: &str) -> String {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", &self.config)
            .env("HOME", &self.home)
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).await.expect("writes");
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
        let Ok(output) = output.await else { return "did not end within a minute".to_owned() };
        let output = output.expect("kubectl runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: 'busybox:1', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: '1', b: 'true'}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands() {
    let server = Running::start().await;
    let Some(kubectl) = Kubectl::new(&server) else { return };
    let changed = MANIFEST.replace("replicas: 2", "replicas: 3");
    let mut out = String::new();
    for (arguments, input) in [
        ("apply -f -", MANIFEST),
        ("apply -f -", MANIFEST),
        ("diff -f -", MANIFEST),
        ("apply -f -", changed.as_str()),
        ("get deployments -o name", ""),
        ("get deploy web -o jsonpath={.spec.replicas}", ""),
        ("get cm settings -o jsonpath={.data}", ""),
        ("get deploy,cm --no-headers -o custom-columns=K:.kind,N:.metadata.name -l app=web", ""),
        ("scale deploy web --replicas=5", ""),
        ("get deploy web -o jsonpath={.spec.replicas}", ""),
        ("label cm settings tier=gold", ""),
        ("annotate cm settings note=hi", ""),
        ("patch cm settings --type=json -p [{\"op\":\"remove\",\"path\":\"/data/b\"}]", ""),
        ("get cm -l tier=gold -o jsonpath={.items[*].data}", ""),
        ("get cm --field-selector metadata.name=nothing", ""),
        ("get cm nothing", ""),
        ("get nothings", ""),
        ("wait --for=jsonpath={.spec.replicas}=5 deploy/web --timeout=10s", ""),
        ("auth can-i create pods", ""),
        ("auth whoami -o jsonpath={.status.userInfo.username}", ""),
        ("api-versions", ""),
        ("explain deployment.spec.replicas", ""),
        ("create -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndata: {a: 1}\n"),
        ("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatta: {}\n"),
        ("delete deploy web --cascade=orphan --wait=false -o name", ""),
        ("delete cm settings --wait=true -o name", ""),
    ] {
        out.push_str(&format!("$ kubectl {arguments}\n{}\n", kubectl.run(arguments, input).await.trim_end()));
    }
    expect![[r#"
        $ kubectl apply -f -
        deployment.apps/web created
        configmap/settings created
        $ kubectl apply -f -
        deployment.apps/web unchanged
        configmap/settings unchanged
        $ kubectl diff -f -

        $ kubectl apply -f -
        deployment.apps/web configured
        configmap/settings unchanged
        $ kubectl get deployments -o name
        deployment.apps/web
        $ kubectl get deploy web -o jsonpath={.spec.replicas}
        3
        $ kubectl get cm settings -o jsonpath={.data}
        {"a":"1","b":"true"}
        $ kubectl get deploy,cm --no-headers -o custom-columns=K:.kind,N:.metadata.name -l app=web
        Deployment   web
        $ kubectl scale deploy web --replicas=5
        deployment.apps/web scaled
        $ kubectl get deploy web -o jsonpath={.spec.replicas}
        5
        $ kubectl label cm settings tier=gold
        configmap/settings labeled
        $ kubectl annotate cm settings note=hi
        configmap/settings annotated
        $ kubectl patch cm settings --type=json -p [{"op":"remove","path":"/data/b"}]
        configmap/settings patched
        $ kubectl get cm -l tier=gold -o jsonpath={.items[*].data}
        {"a":"1"}
        $ kubectl get cm --field-selector metadata.name=nothing
        No resources found in default namespace.
        $ kubectl get cm nothing
        Error from server (NotFound): configmaps "nothing" not found
        $ kubectl get nothings
        error: the server doesn't have a resource type "nothings"
        $ kubectl wait --for=jsonpath={.spec.replicas}=5 deploy/web --timeout=10s
        deployment.apps/web condition met
        $ kubectl auth can-i create pods
        yes
        $ kubectl auth whoami -o jsonpath={.status.userInfo.username}
        admin
        $ kubectl api-versions
        admissionregistration.k8s.io/v1
        apiextensions.k8s.io/v1
        apiregistration.k8s.io/v1
        apps/v1
        authentication.k8s.io/v1
        authorization.k8s.io/v1
        autoscaling/v1
        autoscaling/v2
        batch/v1
        certificates.k8s.io/v1
        coordination.k8s.io/v1
        discovery.k8s.io/v1
        events.k8s.io/v1
        flowcontrol.apiserver.k8s.io/v1
        networking.k8s.io/v1
        node.k8s.io/v1
        policy/v1
        rbac.authorization.k8s.io/v1
        resource.k8s.io/v1
        scheduling.k8s.io/v1
        storage.k8s.io/v1
        v1
        $ kubectl explain deployment.spec.replicas
        GROUP:      apps
        KIND:       Deployment
        VERSION:    v1

        FIELD: replicas <integer>


        DESCRIPTION:
            Pods wanted. Default 1. Leave it out when an autoscaler sets it.
        $ kubectl create -f -
        Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string
        $ kubectl apply -f -
        Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datta"
        $ kubectl delete deploy web --cascade=orphan --wait=false -o name
        deployment.apps/web
        $ kubectl delete cm settings --wait=true -o name
        configmap/settings
    "#]].assert_eq(&out);
    let table = kubectl.run("api-resources --no-headers", "").await;
    assert!(
        table.lines().any(|line| line.split_whitespace().collect::<Vec<_>>()
            == ["deployments", "deploy", "apps/v1", "true", "Deployment"]),
        "{table}"
    );
}
