//! What people do with kubectl, on a cluster with a real node where containerd works and with a hollow
//! one where it does not (then the steps that need real containers are left out, and say so).

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use system_tests::watching::Watching;
use system_tests::{Cluster, Kubectl, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// One thing people do.
type Step = (&'static str, fn(&Kubectl, bool));

const STEPS: &[Step] = &[
    ("apply twice, then changed", apply),
    ("apply at the server's side", server_side_apply),
    ("get wide, yaml, by label and field, watch", get),
    ("describe", describe),
    ("create and delete quickly, dry-run, generate names", create),
    ("edit and patch in all three ways", patch),
    ("label and annotate", label),
    ("scale and wait", scale),
    ("rollout status, history, undo, pause, resume, restart", rollout),
    ("diff", diff),
    ("explain", explain),
    ("api-resources and api-versions", api_resources),
    ("auth can-i and whoami", auth),
    ("logs and exec", logs_and_exec),
    ("port-forward", port_forward),
    ("cp", copy),
    ("services and endpoints", services),
    ("namespaces end with what is in them", namespaces),
    ("cordon, drain, uncordon", drain),
    ("delete with each cascade", delete),
    ("refusals read as upstream's", refusals),
];

#[test]
fn kubectl_walks_through() {
    walk_through("KUBECTL");
}

/// Four minors older than what is served, as people have it whose cluster was upgraded.
#[test]
fn an_older_kubectl_walks_through() {
    walk_through("KUBECTL_OLDER");
}

fn walk_through(variable: &str) {
    let Some(kubectl) = Kubectl::named_in(variable, PathBuf::new()) else { return };
    let cluster = Cluster::up(&[]);
    let kubectl = kubectl.at(cluster.kubeconfig());
    println!("{}", kubectl.ok(&["version"]));
    let real = kubectl.ok(&["get", "nodes", "-o", "name"]).contains("node/node-1");
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        let result = std::panic::catch_unwind(|| step(&kubectl, real));
        println!("kubectl: {name}: {}", if result.is_ok() { "ok" } else { "FAILED" });
        if result.is_err() {
            failed.push(*name);
        }
    }
    println!("kubectl: {} of {} steps passed, real containers: {real}", STEPS.len() - failed.len(), STEPS.len());
    assert!(failed.is_empty(), "failed: {}", failed.join("; "));
}

fn deployment(name: &str, replicas: u32, page: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: kontiki.local/sample:1
        env: [{{name: PAGE, value: {page}}}]
        ports: [{{containerPort: 8080, name: http}}]
"#
    )
}

fn apply_and_wait(kubectl: &Kubectl, name: &str, replicas: u32, page: &str) {
    kubectl.with_input(&["apply", "-f", "-"], &deployment(name, replicas, page));
    kubectl.ok(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"]);
}

fn apply(kubectl: &Kubectl, _real: bool) {
    let first = kubectl.with_input(&["apply", "-f", "-"], &deployment("a", 1, "one"));
    assert_eq!(first, "deployment.apps/a created\n");
    let again = kubectl.with_input(&["apply", "-f", "-"], &deployment("a", 1, "one"));
    assert_eq!(again, "deployment.apps/a unchanged\n");
    let changed = kubectl.with_input(&["apply", "-f", "-"], &deployment("a", 2, "two"));
    assert_eq!(changed, "deployment.apps/a configured\n");
    kubectl.ok(&["rollout", "status", "deployment/a", "--timeout=60s"]);
    let object = kubectl.json(&["get", "deployment", "a"]);
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "two");
    assert_eq!(object["metadata"]["generation"], 2);
}

fn map(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {data}\n")
}

fn server_side_apply(kubectl: &Kubectl, _real: bool) {
    let apply = |more: &[&str], text: &str| {
        let arguments = [&["apply", "--server-side", "-f", "-"][..], more].concat();
        kubectl.with_input(&arguments, text)
    };
    let data = |name: &str| kubectl.json(&["get", "configmap", name])["data"].clone();
    let version = || kubectl.json(&["get", "configmap", "ssa"])["metadata"]["resourceVersion"].clone();
    assert_eq!(apply(&[], &map("ssa", "{a: '1', b: '2'}")), "configmap/ssa serverside-applied\n");
    let before = version();
    apply(&[], &map("ssa", "{a: '1', b: '2'}"));
    assert_eq!(version(), before, "the same again is no write");
    apply(&[], &map("ssa", "{a: '3'}"));
    assert_eq!(data("ssa"), serde_json::json!({"a": "3"}));
    let arguments = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let refused = kubectl.refused_input(&arguments, &map("ssa", "{a: '4'}"));
    assert!(refused.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.a"), "{refused}");
    apply(&["--field-manager=other", "--force-conflicts"], &map("ssa", "{a: '4'}"));
    let shown = kubectl.ok(&["get", "configmap", "ssa", "--show-managed-fields", "-o", "yaml"]);
    assert!(shown.contains("manager: other") && !shown.contains("manager: kubectl\n"), "{shown}");
    assert!(!kubectl.ok(&["get", "configmap", "ssa", "-o", "yaml"]).contains("managedFields"));
    apply(&["--field-manager=third", "--dry-run=server"], &map("ssa", "{c: '5'}"));
    assert_eq!(data("ssa"), serde_json::json!({"a": "4"}));
    move_to_server_side(kubectl);
    kubectl.ok(&["delete", "configmap", "ssa", "csa"]);
}

/// What was applied at the client's side is taken over without a conflict, and can be given up later.
fn move_to_server_side(kubectl: &Kubectl) {
    kubectl.with_input(&["apply", "-f", "-"], &map("csa", "{a: '1', b: '2'}"));
    let managers =
        || kubectl.json(&["get", "configmap", "csa", "--show-managed-fields"])["metadata"]["managedFields"].clone();
    assert_eq!(managers()[0]["manager"], "kubectl-client-side-apply");
    kubectl.with_input(&["apply", "--server-side", "-f", "-"], &map("csa", "{a: '2'}"));
    let object = kubectl.json(&["get", "configmap", "csa"]);
    assert_eq!(object["data"], serde_json::json!({"a": "2"}), "b was kubectl's, too");
    // Entries go by their time in whole seconds first, and the move may or may not cross one.
    let managers = managers();
    let entries = managers.as_array().expect("a list");
    assert!(entries.is_sorted_by_key(|one| (one["time"].as_str(), one["manager"].as_str())), "{managers}");
    let mut names: Vec<_> = entries.iter().map(|one| &one["manager"]).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["kubectl", "kubectl-last-applied"], "kubectl's own move is accepted, too");
    let noted = object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].clone();
    assert!(noted.as_str().expect("kept up to date").contains("\"a\":\"2\""), "{noted}");
}

fn get(kubectl: &Kubectl, _real: bool) {
    let wide = kubectl.ok(&["get", "pods", "-l", "app=a", "-o", "wide"]);
    let header: Vec<&str> = wide.lines().next().expect("a header").split_whitespace().collect();
    assert_eq!(
        header,
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"]
    );
    assert_eq!(wide.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count(), 2, "{wide}");
    let deployments = kubectl.ok(&["get", "deploy", "a", "-o", "wide"]);
    assert!(
        deployments.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE   CONTAINERS   IMAGES"),
        "{deployments}"
    );
    assert!(deployments.contains("2/2"), "{deployments}");
    assert!(kubectl.ok(&["get", "deploy", "a", "-o", "yaml"]).contains("kind: Deployment"));
    let node = kubectl.ok(&["get", "pods", "-l", "app=a", "-o", "jsonpath={.items[0].spec.nodeName}"]);
    let on_node =
        kubectl.ok(&["get", "pods", "-A", "--field-selector", &format!("spec.nodeName={node}"), "-o", "name"]);
    assert!(on_node.lines().count() >= 2, "{on_node}");
    let none = kubectl.output(&["get", "pods", "-l", "app=nobody"]);
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No resources found in default namespace.\n");
    watch(kubectl);
    assert!(kubectl.ok(&["get", "all"]).contains("deployment.apps/a"));
    assert!(kubectl.ok(&["get", "events"]).contains("ScalingReplicaSet"));
}

fn watch(kubectl: &Kubectl) {
    let mut watch = Watching::start(kubectl, &["get", "configmaps", "--field-selector", "metadata.name=seen"]);
    kubectl.ok(&["create", "configmap", "seen", "--from-literal=a=1"]);
    kubectl.ok(&["label", "configmap", "seen", "b=2"]);
    kubectl.ok(&["delete", "configmap", "seen"]);
    let seen: Vec<String> = (0..3).map(|_| watch.event()).collect();
    assert_eq!(seen, ["ADDED seen", "MODIFIED seen", "DELETED seen"]);
}

fn describe(kubectl: &Kubectl, _real: bool) {
    let text = kubectl.ok(&["describe", "deployment", "a"]);
    for part in [
        "RollingUpdateStrategy:",
        "25% max unavailable",
        "Available      True    MinimumReplicasAvailable",
        "ScalingReplicaSet",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let pods = kubectl.ok(&["describe", "pods", "-l", "app=a"]);
    for part in ["Status:", "Running", "Service Account:", "Scheduled", "kube-api-access-"] {
        assert!(pods.contains(part), "no {part:?} in {pods}");
    }
    assert!(kubectl.ok(&["describe", "nodes"]).contains("Allocated resources:"));
}

fn create(kubectl: &Kubectl, _real: bool) {
    kubectl.ok(&["create", "configmap", "c", "--from-literal=k=v"]);
    assert_eq!(kubectl.ok(&["get", "configmap", "c", "-o", "jsonpath={.data.k}"]), "v");
    let again = kubectl.refused(&["create", "configmap", "c"]);
    assert_eq!(again, "error: failed to create configmap: configmaps \"c\" already exists\n");
    kubectl.ok(&["create", "configmap", "d", "--dry-run=server"]);
    assert!(kubectl.refused(&["get", "configmap", "d"]).contains("configmaps \"d\" not found"));
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: g-}\n";
    let made = kubectl.with_input(&["create", "-f", "-", "-o", "name"], yaml);
    assert!(made.starts_with("configmap/g-") && made.trim().len() == "configmap/g-".len() + 5, "{made}");
    kubectl.ok(&["delete", made.trim()]);
    kubectl.ok(&["delete", "configmap", "c"]);
    kubectl.ok(&["create", "secret", "generic", "s", "--from-literal=p=q"]);
    assert_eq!(kubectl.ok(&["get", "secret", "s", "-o", "jsonpath={.data.p}"]), "cQ==");
    kubectl.ok(&["delete", "secret", "s"]);
    kubectl.ok(&["run", "one", "--image=kontiki.local/sample:1", "--restart=Never"]);
    kubectl.ok(&["wait", "pod/one", "--for=condition=Ready", "--timeout=60s"]);
    kubectl.ok(&["delete", "pod", "one", "--grace-period=1"]);
}

fn patch(kubectl: &Kubectl, _real: bool) {
    let get = |path: &str| kubectl.ok(&["get", "deployment", "a", "-o", &format!("jsonpath={path}")]);
    kubectl.ok(&[
        "patch",
        "deployment",
        "a",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"MORE","value":"1"}]}]}}}}"#,
    ]);
    assert_eq!(get("{.spec.template.spec.containers[0].env[*].name}"), "MORE PAGE", "strategic: merged by name");
    kubectl.ok(&["patch", "deployment", "a", "--type=merge", "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]);
    assert_eq!(get("{.metadata.annotations.x}"), "y");
    kubectl.ok(&[
        "patch",
        "deployment",
        "a",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/annotations/x"}]"#,
    ]);
    assert_eq!(get("{.metadata.annotations.x}"), "");
    edit(kubectl, "s/^spec:/spec:\\n  minReadySeconds: 1/");
    assert_eq!(get("{.spec.minReadySeconds}"), "1");
    kubectl.ok(&[
        "patch",
        "deployment",
        "a",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/minReadySeconds"}]"#,
    ]);
    kubectl.ok(&["set", "image", "deployment/a", "web=kontiki.local/sample:1"]);
    kubectl.ok(&["set", "env", "deployment/a", "MORE-"]);
    kubectl.ok(&["rollout", "status", "deployment/a", "--timeout=60s"]);
}

/// `kubectl edit` with an editor that runs one sed expression.
fn edit(kubectl: &Kubectl, expression: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let editor = dir.path().join("editor");
    std::fs::write(&editor, format!("#!/bin/sh\nexec sed -i '{expression}' \"$1\"\n")).expect("writes");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&editor, executable).expect("can be made executable");
    let output = kubectl.command(&["edit", "deployment", "a"]).env("EDITOR", &editor).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn label(kubectl: &Kubectl, _real: bool) {
    kubectl.ok(&["label", "deployment", "a", "tier=web"]);
    assert_eq!(kubectl.ok(&["get", "deploy", "-l", "tier in (web),app!=x", "-o", "name"]), "deployment.apps/a\n");
    assert!(kubectl.refused(&["label", "deployment", "a", "tier=db"]).contains("--overwrite is false"));
    kubectl.ok(&["label", "deployment", "a", "tier-"]);
    kubectl.ok(&["annotate", "deployment", "a", "note=it works"]);
    assert_eq!(kubectl.ok(&["get", "deploy", "a", "-o", "jsonpath={.metadata.annotations.note}"]), "it works");
}

fn scale(kubectl: &Kubectl, _real: bool) {
    kubectl.ok(&["scale", "deployment", "a", "--replicas=3"]);
    kubectl.ok(&["wait", "deployment/a", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s"]);
    kubectl.ok(&["scale", "deployment", "a", "--replicas=1", "--current-replicas=3"]);
    eventually("one pod is left", PATIENCE, || {
        (kubectl.ok(&["get", "pods", "-l", "app=a", "-o", "name"]).lines().count() == 1).then_some(())
    });
    kubectl.ok(&["wait", "deployment/a", "--for=condition=Available", "--timeout=60s"]);
}

fn rollout(kubectl: &Kubectl, _real: bool) {
    let page = |kubectl: &Kubectl| {
        kubectl.ok(&["get", "deploy", "r", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}"])
    };
    apply_and_wait(kubectl, "r", 2, "one");
    apply_and_wait(kubectl, "r", 2, "two");
    let history = kubectl.ok(&["rollout", "history", "deployment/r"]);
    assert_eq!(history.lines().filter(|line| line.starts_with(['1', '2'])).count(), 2, "{history}");
    kubectl.ok(&["rollout", "undo", "deployment/r"]);
    kubectl.ok(&["rollout", "status", "deployment/r", "--timeout=60s"]);
    assert_eq!(page(kubectl), "one");
    assert!(kubectl.ok(&["rollout", "history", "deployment/r"]).contains("\n3 "), "the undone revision is the newest");
    kubectl.ok(&["rollout", "pause", "deployment/r"]);
    kubectl.ok(&["set", "env", "deployment/r", "PAGE=three"]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(kubectl.ok(&["get", "rs", "-l", "app=r", "-o", "name"]).lines().count(), 2, "paused: no new ReplicaSet");
    kubectl.ok(&["rollout", "resume", "deployment/r"]);
    kubectl.ok(&["rollout", "status", "deployment/r", "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["get", "rs", "-l", "app=r", "-o", "name"]).lines().count(), 3);
    kubectl.ok(&["rollout", "restart", "deployment/r"]);
    kubectl.ok(&["rollout", "status", "deployment/r", "--timeout=60s"]);
    kubectl.ok(&["delete", "deployment", "r"]);
}

fn diff(kubectl: &Kubectl, _real: bool) {
    apply_and_wait(kubectl, "f", 1, "one");
    let run = |text: &str| {
        let mut child =
            kubectl.command(&["diff", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("reads");
        let output = child.wait_with_output().expect("ends");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, out) = run(&deployment("f", 1, "one"));
    assert_eq!((code, out.as_str()), (Some(0), ""), "no difference");
    let (code, out) = run(&deployment("f", 4, "one"));
    assert_eq!(code, Some(1));
    assert!(out.contains("-  replicas: 1") && out.contains("+  replicas: 4"), "{out}");
    kubectl.ok(&["delete", "deployment", "f"]);
}

fn explain(kubectl: &Kubectl, _real: bool) {
    let text = kubectl.ok(&["explain", "deployment.spec.strategy"]);
    let described = "How old pods are replaced by new ones.";
    let parts = ["GROUP:      apps", "KIND:       Deployment", "FIELD: strategy <DeploymentStrategy>", "rollingUpdate"];
    for part in parts.into_iter().chain([described]) {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!kubectl.ok(&["explain", "pod"]).contains("<empty>"));
    assert!(kubectl.ok(&["explain", "pod", "--recursive"]).contains("terminationGracePeriodSeconds"));
}

fn api_resources(kubectl: &Kubectl, _real: bool) {
    let all = kubectl.ok(&["api-resources"]);
    let deployments = all.lines().find(|line| line.starts_with("deployments ")).expect("deployments are listed");
    let words: Vec<&str> = deployments.split_whitespace().collect();
    assert_eq!(words, ["deployments", "deploy", "apps/v1", "true", "Deployment"]);
    assert!(all.lines().count() > 60, "{all}");
    assert!(kubectl.ok(&["api-versions"]).lines().any(|line| line == "rbac.authorization.k8s.io/v1"));
    assert!(kubectl.ok(&["version"]).contains("Server Version: v1.36."));
    assert!(kubectl.ok(&["get", "--raw", "/readyz?verbose"]).contains("readyz check passed"));
}

fn auth(kubectl: &Kubectl, _real: bool) {
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "pods"]), "yes\n");
    let as_account = "--as=system:serviceaccount:default:default";
    let refused = kubectl.output(&["auth", "can-i", "list", "secrets", as_account]);
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "no\n");
    let message = kubectl.refused(&["get", "secrets", as_account]);
    let expected = "Error from server (Forbidden): secrets is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\"\n";
    assert_eq!(message, expected);
    kubectl.ok(&["create", "rolebinding", "readers", "--clusterrole=view", "--serviceaccount=default:default"]);
    eventually("the binding takes effect", PATIENCE, || {
        let output = kubectl.output(&["auth", "can-i", "list", "pods", as_account]);
        (output.stdout == b"yes\n").then_some(())
    });
    kubectl.ok(&["delete", "rolebinding", "readers"]);
    assert!(kubectl.ok(&["auth", "whoami"]).contains("kubernetes-admin"));
    let token = kubectl.ok(&["create", "token", "default"]);
    assert_eq!(token.trim().split('.').count(), 3, "a JWT");
}

fn logs_and_exec(kubectl: &Kubectl, real: bool) {
    if !real {
        return println!("kubectl: logs and exec need real containers: left out");
    }
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: l}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: kontiki.local/sample:1\n    command: [sh, -c, 'echo first; echo second; while true; do sleep 1; echo tick; done']\n";
    kubectl.with_input(&["apply", "-f", "-"], pod);
    kubectl.ok(&["wait", "pod/l", "--for=condition=Ready", "--timeout=60s"]);
    assert!(kubectl.ok(&["logs", "l"]).starts_with("first\nsecond\n"));
    assert_eq!(kubectl.ok(&["logs", "l", "--tail=1"]).lines().count(), 1);
    let mut follow = kubectl.command(&["logs", "-f", "l", "--since=1h"]).stdout(Stdio::piped()).spawn().expect("runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let followed: Vec<String> = (0..4).map(|_| lines.next().expect("a line").expect("UTF-8")).collect();
    follow.kill().expect("ends");
    follow.wait().expect("ended");
    assert_eq!(followed, ["first", "second", "tick", "tick"]);
    assert_eq!(kubectl.ok(&["exec", "l", "--", "echo", "hello"]), "hello\n");
    assert_eq!(kubectl.with_input(&["exec", "-i", "l", "--", "cat"], "through\nand back\n"), "through\nand back\n");
    let failed = kubectl.output(&["exec", "l", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    kubectl.ok(&["delete", "pod", "l", "--grace-period=0", "--force"]);
}

fn port_forward(kubectl: &Kubectl, real: bool) {
    if !real {
        return println!("kubectl: port-forward needs real containers: left out");
    }
    for answer in kubectl.forwarded("deployment/sample", 8080, 2) {
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{answer}");
    }
}

fn copy(kubectl: &Kubectl, real: bool) {
    if !real {
        return println!("kubectl: cp needs real containers: left out");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("f");
    std::fs::write(&file, "copied\n").expect("writes");
    let pod = kubectl.ok(&["get", "pods", "-l", "app=sample", "-o", "jsonpath={.items[0].metadata.name}"]);
    kubectl.ok(&["cp", file.to_str().expect("UTF-8"), &format!("{pod}:/tmp/f")]);
    assert_eq!(kubectl.ok(&["exec", &pod, "--", "cat", "/tmp/f"]), "copied\n");
}

fn services(kubectl: &Kubectl, _real: bool) {
    kubectl.ok(&["expose", "deployment", "a", "--port=80", "--target-port=8080", "--name=web"]);
    let service = kubectl.json(&["get", "service", "web"]);
    assert!(service["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.96.")), "{service}");
    eventually("an endpoint", PATIENCE, || {
        let slices = kubectl.json(&["get", "endpointslices", "-l", "kubernetes.io/service-name=web"]);
        slices["items"][0]["endpoints"][0]["conditions"]["ready"].as_bool().filter(|ready| *ready)
    });
    kubectl.ok(&["create", "service", "nodeport", "np", "--tcp=80:8080"]);
    let port = kubectl.json(&["get", "service", "np"])["spec"]["ports"][0]["nodePort"].as_u64();
    assert!(port.is_some_and(|port| (30000..=32767).contains(&port)), "{port:?}");
    kubectl.ok(&["delete", "service", "web", "np"]);
}

fn namespaces(kubectl: &Kubectl, _real: bool) {
    kubectl.ok(&["create", "namespace", "n"]);
    eventually("a default account", PATIENCE, || {
        kubectl.output(&["-n", "n", "get", "serviceaccount", "default"]).status.success().then_some(())
    });
    eventually("the cluster's CA", PATIENCE, || {
        kubectl.output(&["-n", "n", "get", "configmap", "kube-root-ca.crt"]).status.success().then_some(())
    });
    kubectl.ok(&["-n", "n", "create", "deployment", "x", "--image=kontiki.local/sample:1"]);
    kubectl.ok(&["-n", "n", "create", "configmap", "c"]);
    kubectl.ok(&["delete", "namespace", "n", "--timeout=60s"]);
    assert!(kubectl.refused(&["get", "namespace", "n"]).contains("namespaces \"n\" not found"));
    let missing = kubectl.refused(&["-n", "n", "create", "configmap", "c"]);
    assert!(missing.contains("namespaces \"n\" not found"), "{missing}");
}

fn drain(kubectl: &Kubectl, _real: bool) {
    let node = kubectl.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    kubectl.ok(&["cordon", &node]);
    assert!(kubectl.ok(&["get", "nodes", &node]).contains("SchedulingDisabled"));
    kubectl.ok(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s"]);
    let pods = kubectl.json(&["get", "pods", "-A", "--field-selector", &format!("spec.nodeName={node}")]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(0));
    eventually("pods wait with a reason", PATIENCE, || {
        let events = kubectl.ok(&["get", "events", "-A", "--field-selector", "reason=FailedScheduling"]);
        events.contains("0/1 nodes are available: 1 node(s) were unschedulable").then_some(())
    });
    kubectl.ok(&["uncordon", &node]);
    kubectl.ok(&["wait", "deployment/sample", "--for=condition=Available", "--timeout=60s"]);
}

fn delete(kubectl: &Kubectl, _real: bool) {
    let left =
        |kind: &str, name: &str| kubectl.ok(&["get", kind, "-l", &format!("app={name}"), "-o", "name"]).lines().count();
    for (name, cascade) in [("bg", "background"), ("fg", "foreground"), ("or", "orphan")] {
        apply_and_wait(kubectl, name, 2, "one");
        kubectl.ok(&["delete", "deployment", name, &format!("--cascade={cascade}"), "--timeout=60s"]);
        match cascade {
            "orphan" => {
                std::thread::sleep(Duration::from_secs(1));
                assert_eq!((left("rs", name), left("pods", name)), (1, 2), "orphans stay");
                let owners =
                    kubectl.ok(&["get", "rs", "-l", "app=or", "-o", "jsonpath={.items[0].metadata.ownerReferences}"]);
                assert_eq!(owners, "");
                kubectl.ok(&["delete", "rs", "-l", "app=or"]);
            }
            "foreground" => assert_eq!(left("rs", name), 0, "dependents go first"),
            _ => {}
        }
        eventually("everything is gone", PATIENCE, || (left("rs", name) + left("pods", name) == 0).then_some(()));
    }
    kubectl.ok(&["delete", "deployment", "a", "--wait"]);
}

fn refusals(kubectl: &Kubectl, _real: bool) {
    assert_eq!(
        kubectl.refused(&["get", "pods", "nobody"]),
        "Error from server (NotFound): pods \"nobody\" not found\n"
    );
    assert_eq!(kubectl.refused(&["get", "widgets"]), "error: the server doesn't have a resource type \"widgets\"\n");
    let bad = kubectl.command(&["create", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut bad = bad.expect("runs");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n";
    bad.stdin.take().expect("piped").write_all(text.as_bytes()).expect("reads");
    let output = bad.wait_with_output().expect("ends");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("The ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\""),
        "{message}"
    );
    let immutable = kubectl.refused(&["patch", "service", "kubernetes", "-p", r#"{"spec":{"clusterIP":"10.96.0.9"}}"#]);
    assert!(immutable.contains("field is immutable") || immutable.contains("may not change once set"), "{immutable}");
}
