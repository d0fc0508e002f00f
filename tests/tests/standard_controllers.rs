//! A standard kube-controller-manager and kube-scheduler do the work of a cluster of ours, where their programs are
//! named: what people deploy comes up, moves and goes, and neither of them logs an error that it would not log on
//! upstream's API server.
//!
//! For `STANDARD_MINUTES` (one) the same again and again. An hour is more than nextest allows: run it as
//! `cargo test --profile tests -p system-tests --test standard_controllers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::programs::named;
use system_tests::servers::Running;
use system_tests::{Cluster, Kubectl, eventually};

const PATIENCE: Duration = Duration::from_secs(90);
/// Wide enough for the ranges that `up` gives its hollow nodes.
const CLUSTER_CIDR: &str = "10.244.0.0/14";
const NODES: usize = 3;
/// One of everything that the standard controllers make other objects from.
const WORK: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'kontiki.local/sample:1', ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: 'kontiki.local/sample:1'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: 'kontiki.local/sample:1'}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: later}
spec:
  schedule: '0 0 1 1 *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'kontiki.local/sample:1'}]}}}}
";

const QUOTA: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: many}
spec: {hard: {pods: '100', services: '10'}}
";

/// What they log on upstream's API server as well, when two write at once or what they work on goes.
const ORDINARY: [(&str, &str); 6] = [
    ("the object has been modified; please apply your changes to the latest version", "somebody else was faster"),
    ("is not as new as written version", "their own check of their informers, which they wait for"),
    ("because it is being terminated", "a namespace goes while they fill it"),
    (r#"\" not found"#, "an object that they look at has gone"),
    (r#"\" already exists"#, "a name they tried before, or somebody else did"),
    ("The manifest file is empty", "how some builds begin, before they ask for anything"),
];

#[test]
fn standard_controllers_and_scheduler_do_the_work() {
    let (Some(manager), Some(scheduler)) = (named("KUBE_CONTROLLER_MANAGER"), named("KUBE_SCHEDULER")) else { return };
    if Kubectl::find(PathBuf::new()).is_none() {
        return;
    }
    let hollow = NODES.to_string();
    let cluster = Cluster::up(&["--node", "none", "--no-sample", "--hollow-nodes", &hollow, "--controllers", ""]);
    let logs = tempfile::tempdir().expect("a directory");
    let log = |name: &str| logs.path().join(name);
    let _manager = Running::start(&mut manager_command(&manager, &cluster), log("kube-controller-manager"));
    let _scheduler = Running::start(&mut component(&scheduler, &cluster), log("kube-scheduler"));
    let kubectl = Kubectl::find(cluster.kubeconfig()).expect("it was found before");
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let holder =
            || kubectl.output(&["get", "lease", name, "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}"]);
        eventually("the standard component leads", PATIENCE, || {
            let holder = String::from_utf8_lossy(&holder().stdout).into_owned();
            (!holder.is_empty()).then(|| assert!(!holder.starts_with("kontiki"), "{name}: {holder}"))
        });
    }
    let minutes = std::env::var("STANDARD_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(1.0);
    let ends = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < ends {
        round(&kubectl, &format!("work-{rounds}"));
        rounds += 1;
    }
    let all = complaints(logs.path());
    let ordinary = |text: &str| ORDINARY.iter().any(|(part, _)| text.contains(part));
    let (usual, strange): (Vec<_>, Vec<_>) = all.into_iter().partition(|(text, _)| ordinary(text));
    println!("{rounds} rounds; {} kinds of ordinary errors, {} strange ones", usual.len(), strange.len());
    strange.iter().for_each(|(text, count)| println!("{count:>6} {text}"));
    assert!(strange.is_empty(), "standard components log errors that upstream's API server does not give");
}

fn component(program: &Path, cluster: &Cluster) -> Command {
    let mut command = Command::new(program);
    for option in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{option}={}", cluster.kubeconfig().display()));
    }
    command.args(["--secure-port=0", "--leader-elect=true", "--v=2"]);
    command
}

fn manager_command(program: &Path, cluster: &Cluster) -> Command {
    let mut command = component(program, cluster);
    let file = |name: &str| cluster.dir.join("pki").join(name).display().to_string();
    command.args([
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        format!("--cluster-cidr={CLUSTER_CIDR}"),
    ]);
    command.args(["--allocate-node-cidrs=true", "--use-service-account-credentials=true"]);
    command.arg("--controllers=*,bootstrap-signer-controller,token-cleaner-controller");
    command
}

/// What people do, in a namespace of its own that goes in the end.
fn round(kubectl: &Kubectl, namespace: &str) {
    let in_it = |arguments: &[&str]| kubectl.ok(&[&["-n", namespace], arguments].concat());
    kubectl.ok(&["create", "namespace", namespace]);
    kubectl.with_input(&["-n", namespace, "apply", "-f", "-"], QUOTA);
    // Admission charges pods only to a quota that its controller has looked at.
    let hard = ["get", "resourcequota", "many", "-o", "jsonpath={.status.hard.pods}"];
    eventually("the quota is looked at", PATIENCE, || (in_it(&hard) == "100").then_some(()));
    kubectl.with_input(&["-n", namespace, "apply", "-f", "-"], WORK);
    for what in ["deployment/web", "statefulset/db", "daemonset/agent"] {
        in_it(&["rollout", "status", what, "--timeout=90s"]);
    }
    let placed: Value = kubectl.json(&["-n", namespace, "get", "pods", "-l", "app=agent"]);
    assert_eq!(placed["items"].as_array().map(Vec::len), Some(NODES), "one a node");
    let addresses = [
        "get",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=web",
        "-o",
        "jsonpath={.items[*].endpoints[*].addresses[0]}",
    ];
    eventually("four endpoints", PATIENCE, || (in_it(&addresses).split_whitespace().count() == 4).then_some(()));
    let used = ["get", "resourcequota", "many", "-o", "jsonpath={.status.used.pods}"];
    eventually("the quota counts", PATIENCE, || (in_it(&used) == "9").then_some(()));
    in_it(&["set", "env", "deployment/web", "A=b"]);
    in_it(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    in_it(&["rollout", "undo", "deployment/web"]);
    in_it(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    in_it(&["scale", "deployment/web", "--replicas=1"]);
    let one = ["get", "pods", "-l", "app=web", "-o", "name"];
    eventually("one pod is left", PATIENCE, || (in_it(&one).lines().count() == 1).then_some(()));
    in_it(&["create", "job", "now", "--from=cronjob/later"]);
    eventually("the job's pod is made", PATIENCE, || {
        (in_it(&["get", "pods", "-l", "job-name=now", "-o", "name"]).lines().count() == 1).then_some(())
    });
    in_it(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=90s"]);
    kubectl.ok(&["delete", "namespace", namespace, "--timeout=90s"]);
}

/// Errors in the logs, with how often each was said.
fn complaints(logs: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(logs).expect("a directory") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a log");
        for line in text.lines().filter(|line| is_error(line)) {
            let said = line.split_once("] ").map_or(line, |(_, said)| said);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            *found.entry(format!("{name}: {said}")).or_default() += 1;
        }
    }
    found
}

/// As klog writes it, perhaps behind a mark of where it comes from: `E1130 19:15:39.982460 ...`.
fn is_error(line: &str) -> bool {
    line.split_whitespace().take(2).any(|word| {
        let day = word.strip_prefix(['E', 'F']);
        day.is_some_and(|day| day.len() == 4 && day.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

#[test]
fn errors_are_told_from_the_rest() {
    assert!(is_error("E1130 19:15:39.982460    7811 controllermanager.go:683] \"Error\""));
    assert!(is_error("??? F1130 19:15:39.982460    7811 a.go:1] x"));
    assert!(!is_error("I1130 19:15:37.367082    7811 plugins.go:607] E1130"));
}
