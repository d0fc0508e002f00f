//! A standard kubelet on a cluster of ours: it joins with a bootstrap kubeconfig as kubeadm writes it, becomes a Ready
//! node and runs pods, and what goes from the API server to it goes over TLS that is verified.
//!
//! Server, kubelet, containerd and kubectl run in namespaces of their own for processes, mounts and network: whatever
//! becomes of the test, the kernel ends all of them with their mounts, links and firewall rules.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kubelet_agent::containerd::{Containerd, ContainerdConfig, Footprint, containerd_usable};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use system_tests::programs::named;
use system_tests::servers::{Running, Server};
use system_tests::{Kubectl, eventually};

const NODE: &str = "standard";
/// Its address: API servers connect to none that is a loopback's.
const ADDRESS: &str = "10.199.78.1";
const POD_CIDR: &str = "10.199.79.0/24";
const BRIDGE: &str = "kontiki-t1";
const CGROUP: &str = "/kontiki-standard";
/// The directory of the test, for the part of it inside the namespaces.
const INSIDE: &str = "STANDARD_KUBELET_INSIDE";
const READY_PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(60);
/// Directories of this machine that a kubelet and a containerd write to whatever they are told.
const WRITTEN: [&str; 5] = ["/var/lib/kubelet", "/var/log/containers", "/var/lib/cni", "/run/containerd", "/run/netns"];
/// What a kubelet sets for the whole machine.
const KERNEL: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
const NAMESPACES: [&str; 6] = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

#[test]
fn a_standard_kubelet_joins_and_runs_pods() {
    let Some(kubelet) = named("KUBELET") else { return };
    if let Some(dir) = std::env::var_os(INSIDE) {
        return inside(&kubelet, Path::new(&dir));
    }
    if let Err(why) = containerd_usable().and_then(|()| namespaces_usable()) {
        return println!("skipped: {why}");
    }
    if Kubectl::find(PathBuf::new()).is_none() {
        return;
    }
    let machine = Machine::remember();
    let program = std::env::current_exe().expect("a test knows its own path");
    let (lines, writer) = std::io::pipe().expect("a pipe");
    let mut unshare = Command::new("unshare");
    unshare.args(NAMESPACES).arg(program).args(["--exact", "a_standard_kubelet_joins_and_runs_pods", "--nocapture"]);
    unshare.env(INSIDE, machine.dir.path()).env("KUBECACHEDIR", machine.dir.path().join("cache")).stdin(Stdio::null());
    let mut child = unshare.stdout(writer.try_clone().expect("a pipe")).stderr(writer).spawn().expect("unshare starts");
    // It has the writing end.
    drop(unshare);
    BufReader::new(lines).lines().map_while(Result::ok).for_each(|line| println!("  {line}"));
    let status = child.wait().expect("unshare ends");
    let left = machine.restore();
    assert!(status.success(), "inside the namespaces: {status}");
    assert_eq!(left, Vec::<String>::new(), "left on this machine");
}

fn namespaces_usable() -> Result<(), String> {
    let output = Command::new("unshare").args(NAMESPACES).args(["ip", "link", "set", "lo", "up"]).output();
    let output = output.map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("no namespaces can be made: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// What of this machine is not in the namespaces, and is made as it was before.
struct Machine {
    dir: tempfile::TempDir,
    /// The directories that were absent.
    made: Vec<PathBuf>,
    kernel: Vec<(PathBuf, String)>,
}

impl Machine {
    fn remember() -> Self {
        let absent = WRITTEN.iter().map(PathBuf::from).filter(|dir| std::fs::create_dir(dir).is_ok());
        let settings = KERNEL.iter().map(|name| Path::new("/proc/sys").join(name));
        let known = settings.filter_map(|path| {
            let value = std::fs::read_to_string(&path).ok()?;
            Some((path, value))
        });
        let dir = tempfile::Builder::new().prefix("kubelet").tempdir().expect("a temporary directory");
        Self { dir, made: absent.collect(), kernel: known.collect() }
    }

    /// Once nothing of the namespaces runs. Says what could not be taken away.
    fn restore(&self) -> Vec<String> {
        let mut left = footprint(self.dir.path()).remove();
        let changed = |(path, value): &&(PathBuf, String)| std::fs::read_to_string(path).is_ok_and(|now| now != *value);
        let written = self.kernel.iter().filter(changed).map(|(path, value)| (path, std::fs::write(path, value)));
        left.extend(written.filter_map(|(path, result)| Some(format!("{}: {}", path.display(), result.err()?))));
        for dir in &self.made {
            // Not empty: somebody else uses it now.
            let _: std::io::Result<()> = std::fs::remove_dir(dir);
        }
        left
    }
}

fn containerd_config(dir: &Path) -> ContainerdConfig {
    ContainerdConfig { dir: dir.join("containerd"), pod_cidr: Some(POD_CIDR.to_owned()), bridge: BRIDGE.to_owned() }
}

fn footprint(dir: &Path) -> Footprint {
    let containerd = containerd_config(dir);
    Footprint {
        data_dir: dir.to_owned(),
        containerd: containerd.dir,
        bridge: containerd.bridge,
        cgroup_root: CGROUP.to_owned(),
    }
}

fn inside(kubelet: &Path, dir: &Path) {
    prepare_namespaces();
    prepare_cgroups();
    let server = Server::init();
    let kubectl = Kubectl::find(server.kubeconfig()).expect("looked for already");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let containerd = match runtime.block_on(working_containerd(dir)) {
        Ok(containerd) => containerd,
        Err(why) => return println!("skipped: {why}"),
    };
    let node = Node { kubectl, dir: dir.to_owned(), socket: containerd.socket() };
    node.configure(&server.token("agent"));

    let begun = Instant::now();
    let running = node.start(kubelet);
    node.is_ready(begun);
    node.runs_a_pod();
    node.is_refused_until_its_certificate_is_approved();
    node.logs_exec_and_attach();
    node.forwards_ports();
    node.is_proxied();
    node.renews_its_lease();
    node.deletes_the_pod();
    drop(running);
    runtime.block_on(containerd.stop());
}

async fn working_containerd(dir: &Path) -> Result<Containerd, String> {
    let containerd = Containerd::start(containerd_config(dir)).await?;
    containerd.try_sandbox(CGROUP).await?;
    Ok(containerd)
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip runs");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An address, and directories that nobody else sees.
fn prepare_namespaces() {
    ip(&["link", "set", "lo", "up"]);
    ip(&["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]);
    for dir in WRITTEN {
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mounted");
    }
}

/// The node's own cgroup in every hierarchy, with what its children need of their parent.
fn prepare_cgroups() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    for fields in fields.filter(|fields| fields[2].starts_with("cgroup")) {
        let hierarchy = Path::new(fields[1]);
        let own = hierarchy.join(CGROUP.trim_start_matches('/'));
        std::fs::create_dir_all(&own).expect("a cgroup");
        for name in ["cpuset.cpus", "cpuset.mems"] {
            // One hierarchy of version 1 has these, and its children begin with nothing in them.
            let Ok(value) = std::fs::read(hierarchy.join(name)) else { continue };
            std::fs::write(own.join(name), value).expect("a cpuset");
        }
        // Version 2 without version 1 besides: a child has the controllers that its parent passes on.
        if hierarchy.ends_with("cgroup") {
            let controllers = std::fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
            for controller in controllers.split_whitespace() {
                let path = hierarchy.join("cgroup.subtree_control");
                std::fs::write(path, format!("+{controller}")).expect("a controller passed on");
            }
        }
    }
}

struct Node {
    kubectl: Kubectl,
    dir: PathBuf,
    socket: PathBuf,
}

impl Node {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// What `kubeadm join` does before it starts a kubelet: it reads `cluster-info`, which anybody may.
    fn configure(&self, token: &str) {
        let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        let info = eventually("cluster-info is public", PATIENCE, || {
            let output = self.kubectl.output(&["get", "--as=system:anonymous", "--raw", path]);
            serde_json::from_slice::<Value>(&output.stdout).ok()
        });
        let text = info["data"]["kubeconfig"].as_str().expect("a kubeconfig");
        let file = self.dir.join("cluster-info.kubeconfig");
        std::fs::write(&file, text).expect("written");
        let info = self.kubectl.at(file).json(&["config", "view", "--raw"]);
        let cluster = &info["clusters"][0]["cluster"];
        let ca = cluster["certificate-authority-data"].as_str().expect("a CA");
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).expect("base64");
        std::fs::write(self.dir.join("ca.crt"), ca).expect("written");
        let (token, _ca_hash) = token.split_once(':').expect("a token and the hash of the CA");
        let (user, context) = ("tls-bootstrap-token-user", "tls-bootstrap-token-user@kubernetes");
        let bootstrap = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": "kubernetes", "cluster": cluster}],
            "contexts": [{"name": context, "context": {"cluster": "kubernetes", "user": user}}],
            "users": [{"name": user, "user": {"token": token}}],
        });
        std::fs::write(self.dir.join("bootstrap.kubeconfig"), bootstrap.to_string()).expect("written");
        std::fs::write(self.dir.join("config.json"), self.configuration().to_string()).expect("written");
    }

    /// As kubeadm's, and what a kubelet needs to run in a part of a machine that is no node.
    fn configuration(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.path("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
            "rotateCertificates": true, "serverTLSBootstrap": true,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket.display()),
            "cgroupDriver": "cgroupfs", "cgroupRoot": CGROUP, "failCgroupV1": false, "failSwapOn": false,
            "maxOpenFiles": 20000, "oomScoreAdj": 0, "makeIPTablesUtilChains": false,
            "podLogsDir": self.path("logs"), "volumePluginDir": self.path("plugins"),
            // A disk that is nearly full is no fault of the node's.
            "evictionHard": {"memory.available": "10Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
        })
    }

    fn start(&self, kubelet: &Path) -> Running {
        let mut command = Command::new(kubelet);
        command
            .args(["--hostname-override", NODE, "--node-ip", ADDRESS, "--v=2"])
            .args(["--bootstrap-kubeconfig", &self.path("bootstrap.kubeconfig")])
            .args(["--kubeconfig", &self.path("kubelet.kubeconfig"), "--config", &self.path("config.json")])
            .args(["--root-dir", &self.path("kubelet"), "--cert-dir", &self.path("pki")]);
        Running::start(&mut command, self.dir.join("kubelet.log"))
    }

    fn is_ready(&self, begun: Instant) {
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        eventually("the node is Ready", READY_PATIENCE, || {
            let output = self.kubectl.output(&["get", "node", NODE, "-o", ready]);
            (output.stdout == b"True").then_some(())
        });
        println!("Ready {:.1} s after the kubelet's start", begun.elapsed().as_secs_f64());
        let node = self.kubectl.json(&["get", "node", NODE]);
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
        println!("a kubelet {version} on {}", node["status"]["nodeInfo"]["containerRuntimeVersion"]);
        assert_eq!(node["status"]["addresses"][0], json!({"type": "InternalIP", "address": ADDRESS}));
        let identity = std::fs::read_to_string(self.dir.join("kubelet.kubeconfig")).expect("an identity");
        assert!(identity.contains("kubelet-client-current.pem") && !identity.contains("token:"), "{identity}");
    }

    fn runs_a_pod(&self) {
        let account = || self.kubectl.output(&["get", "serviceaccount", "default"]).status.success().then_some(());
        eventually("the default service account is there", PATIENCE, account);
        self.kubectl.ok(&["create", "configmap", "settings", "--from-literal=colour=blue"]);
        self.kubectl.ok(&["create", "secret", "generic", "hidden", "--from-literal=word=sesame"]);
        let begun = Instant::now();
        self.kubectl.with_input(&["apply", "-f", "-"], &pod().to_string());
        self.kubectl.ok(&["wait", "pod/web", "--for=condition=Ready", "--timeout=60s"]);
        println!("a pod Ready {:.1} s after it was made", begun.elapsed().as_secs_f64());
        let pod = self.kubectl.json(&["get", "pod", "web"]);
        assert_eq!(pod["spec"]["nodeName"], NODE);
        assert!(pod["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.199.79.")), "{}", pod["status"]);
        eventually("events of the kubelet", PATIENCE, || {
            let events = self.kubectl.ok(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
            ["Scheduled", "Pulled", "Created", "Started"].iter().all(|reason| events.contains(reason)).then_some(())
        });
    }

    /// Until then it has none to show: a node could ask for the names of others.
    fn is_refused_until_its_certificate_is_approved(&self) {
        let pending = || {
            let all = self.kubectl.json(&["get", "certificatesigningrequests"])["items"].as_array()?.clone();
            let of_signer = |one: &&Value| one["spec"]["signerName"] == "kubernetes.io/kubelet-serving";
            all.iter().find(of_signer)?["metadata"]["name"].as_str().map(str::to_owned)
        };
        let request = eventually("the request for a serving certificate", PATIENCE, pending);
        let refused = self.kubectl.refused(&["logs", "web", "-c", "web"]);
        println!("before its certificate is approved: {}", refused.trim());
        self.kubectl.ok(&["certificate", "approve", &request]);
        eventually("logs reach the kubelet", PATIENCE, || {
            self.kubectl.output(&["logs", "web", "-c", "web"]).status.success().then_some(())
        });
    }

    fn logs_exec_and_attach(&self) {
        let log = self.kubectl.ok(&["logs", "web", "-c", "web"]);
        assert!(log.contains("web serves http on port 8080"), "{log}");
        let exec = |command: &str| self.kubectl.ok(&["exec", "web", "-c", "web", "--", "sh", "-c", command]);
        let seen = exec("cat /settings/colour /hidden/word; echo; cat /about/labels; echo; echo $COLOUR $WORD $WHERE");
        assert_eq!(seen, "bluesesame\napp=\"web\"\nblue sesame standard\n");
        let account = exec("cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; head -n 1 ca.crt");
        assert_eq!(account, "default-----BEGIN CERTIFICATE-----\n");
        let token = exec("cat /token/token");
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": ["vault"]}});
        let review = self.kubectl.with_input(&["create", "-f", "-", "-o", "json"], &review.to_string());
        let review: Value = serde_json::from_str(&review).expect("JSON");
        assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:default");
        let through = self.kubectl.with_input(&["exec", "-i", "web", "-c", "web", "--", "cat"], "there and back\n");
        assert_eq!(through, "there and back\n");
        let failed = self.kubectl.output(&["exec", "web", "-c", "web", "--", "sh", "-c", "exit 7"]);
        assert_eq!(failed.status.code(), Some(7));
        self.attach();
    }

    fn attach(&self) {
        let mut attach = self
            .kubectl
            .command(&["attach", "-i", "web", "-c", "echo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut stdin = attach.stdin.take().expect("piped");
        stdin.write_all(b"hello\n").expect("written");
        let mut lines = BufReader::new(attach.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("UTF-8"), "heard hello");
        attach.kill().expect("ends");
        attach.wait().expect("ended");
    }

    fn forwards_ports(&self) {
        let answers = self.kubectl.forwarded("pod/web", 8080, 1);
        assert!(answers[0].starts_with("HTTP/1.") && answers[0].contains(" 200 "), "{answers:?}");
    }

    fn is_proxied(&self) {
        let raw = |path: &str| self.kubectl.ok(&["get", "--raw", path]);
        let of_node = |path: &str| raw(&format!("/api/v1/nodes/{NODE}/proxy/{path}"));
        assert_eq!(of_node("healthz").trim(), "ok");
        assert!(of_node("pods").contains("\"name\":\"web\""));
        assert!(of_node("metrics/resource").contains("container_memory_working_set_bytes"));
        let page = raw("/api/v1/namespaces/default/pods/web:8080/proxy/");
        assert!(page.contains("web"), "{page}");
    }

    fn renews_its_lease(&self) {
        let look = || {
            let output = self.kubectl.output(&["get", "lease", NODE, "-n", "kube-node-lease", "-o", "json"]);
            serde_json::from_slice::<Value>(&output.stdout).ok()
        };
        // The kubelet wanted to make it before the node was there, and comes back after ten seconds.
        let lease = eventually("the node has a lease", PATIENCE, look);
        let node = self.kubectl.json(&["get", "node", NODE]);
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
        let before = &lease["spec"]["renewTime"];
        eventually("the lease is renewed", PATIENCE, || look().filter(|lease| lease["spec"]["renewTime"] != *before));
    }

    fn deletes_the_pod(&self) {
        let begun = Instant::now();
        self.kubectl.ok(&["delete", "pod", "web", "--timeout=60s"]);
        println!("the pod gone {:.1} s after it was deleted", begun.elapsed().as_secs_f64());
        eventually("files of the pod are removed", PATIENCE, || {
            let pods = std::fs::read_dir(self.dir.join("kubelet/pods"));
            pods.map_or(true, |mut pods| pods.next().is_none()).then_some(())
        });
    }
}

/// A pod with everything that a kubelet fetches for one.
fn pod() -> Value {
    let image = kubelet_agent::images::SAMPLE;
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "hidden", "secret": {"secretName": "hidden"}},
                {"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3600}},
                ]}},
                {"name": "about", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                ]}},
            ],
            "containers": [
                {
                    "name": "web", "image": image, "imagePullPolicy": "IfNotPresent",
                    "env": [
                        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "word"}}},
                        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "settings", "mountPath": "/settings"}, {"name": "hidden", "mountPath": "/hidden"},
                        {"name": "token", "mountPath": "/token"}, {"name": "about", "mountPath": "/about"},
                    ],
                },
                {
                    "name": "echo", "image": image, "imagePullPolicy": "IfNotPresent", "stdin": true,
                    "command": ["sh", "-c", "while read -r line; do echo \"heard $line\"; done"],
                },
            ],
        },
    })
}
