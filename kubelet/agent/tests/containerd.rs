//! A node on a real containerd of its own, against a small API server. Skipped, saying so, where that
//! cannot run.

mod support;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use kubelet_agent::containerd::{Containerd, ContainerdConfig, Footprint, containerd_usable};
use kubelet_agent::{AgentConfig, Runtime, Servers};
use serde_json::{Value, json};
use support::{Cluster, SCRAPER, ready};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::sync::CancellationToken;

const CIDR: &str = "10.199.77.0/24";
const BRIDGE: &str = "kontiki-t0";
const CGROUP: &str = "/kontiki-test";
const POD: &str = "/api/v1/namespaces/d/pods/web";

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn config(cluster: &Cluster, server: std::net::SocketAddr, socket: &Path, port: u16) -> AgentConfig {
    AgentConfig {
        node_name: "real".to_owned(),
        node_ip: "127.0.0.1".parse().expect("an address"),
        kubeconfig: cluster.kubeconfig("real", server),
        servers: Servers::default(),
        runtime: Runtime::Cri { socket: socket.to_owned() },
        root_dir: cluster.dir.join("kubelet"),
        port,
        serving_certificate: Some(cluster.certificate("serving", "system:node:real", "system:nodes")),
        client_ca: Some(cluster.dir.join("ca.crt")),
        pod_cidr: Some(CIDR.to_owned()),
        pod_network: None,
        cgroup_root: CGROUP.to_owned(),
        labels: Vec::new(),
        max_pods: 10,
        stop_pods_on_exit: false,
    }
}

fn web() -> Value {
    json!({"spec": {
        "nodeName": "real", "serviceAccountName": "default", "terminationGracePeriodSeconds": 5,
        "volumes": [
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "mem", "emptyDir": {"medium": "Memory"}},
            {"name": "work", "emptyDir": {}},
            {"name": "secret", "secret": {"secretName": "secret"}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}},
        ],
        "initContainers": [{
            "name": "prepare", "image": kubelet_agent::images::SAMPLE, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "echo $(GREETING) > /mem/greeting"], "env": [{"name": "GREETING", "value": "hello"}],
            "volumeMounts": [{"name": "mem", "mountPath": "/mem"}],
        }],
        "containers": [{
            "name": "web", "image": kubelet_agent::images::SAMPLE, "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "200m"}},
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
            "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/tmp/bad"]}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "conf", "mountPath": "/conf"}, {"name": "mem", "mountPath": "/mem"}, {"name": "token", "mountPath": "/token"},
            ],
        }, {
            // Nobody in particular, in a part of a volume that is made for it.
            "name": "worker", "image": kubelet_agent::images::SAMPLE, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "cat /secret/key > /work/secret && sleep 3600"],
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
            "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "sleep 1; touch /work/started"]}}},
            "readinessProbe": {"exec": {"command": ["test", "-s", "/work/secret", "-a", "-e", "/work/started"]}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "work", "mountPath": "/work", "subPath": "a/b"}, {"name": "secret", "mountPath": "/secret"},
            ],
        }],
    }})
}

/// Calls the kubelet as the API server does, or as somebody else.
struct Caller<'a> {
    cluster: &'a Cluster,
    port: u16,
    certificate: &'a str,
}

impl Caller<'_> {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let dir = &self.cluster.dir;
        let (certificate, key) =
            (dir.join(format!("{}.crt", self.certificate)), dir.join(format!("{}.key", self.certificate)));
        let certified = Some((certificate.as_path(), key.as_path())).filter(|_| !self.certificate.is_empty());
        let tls = pki::reload::client_config(&dir.join("ca.crt"), certified, &[]).expect("TLS");
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("a name");
        tokio_rustls::TlsConnector::from(tls).connect(name, stream).await.expect("TLS")
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, None).await
    }

    /// With a token, and without one by certificate alone.
    async fn get_as(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let stream = self.connect().await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let mut request = http::Request::get(path).header("host", "k");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Runs a command over a WebSocket, gives it `input`, closes its stdin; stdout and the final status.
    async fn exec(&self, command: &[&str], input: &str) -> (String, Value) {
        let words: String = command.iter().map(|w| format!("&command={w}")).collect();
        let url = format!("ws://k/exec/d/web/web?input=1&output=1&error=1{words}");
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().expect("a protocol"));
        let (mut socket, _) = tokio_tungstenite::client_async(request, self.connect().await).await.expect("upgraded");
        let mut message = vec![0];
        message.extend_from_slice(input.as_bytes());
        socket.send(Message::binary(message)).await.expect("sent");
        socket.send(Message::binary(vec![255, 0])).await.expect("closed stdin");
        let (mut output, mut status) = (Vec::new(), Value::Null);
        while let Some(Ok(message)) = socket.next().await {
            match message.into_data().split_first() {
                Some((1, bytes)) => output.extend_from_slice(bytes),
                Some((3, bytes)) => status = serde_json::from_slice(bytes).expect("a status"),
                _ => {}
            }
        }
        (String::from_utf8_lossy(&output).into_owned(), status)
    }
}

/// Ends whatever of the test still runs or is mounted, however it went.
struct Cleanup(Footprint);

impl Drop for Cleanup {
    fn drop(&mut self) {
        for failure in self.0.remove() {
            println!("left: {failure}");
        }
    }
}

fn footprint(cluster: &Cluster) -> Footprint {
    Footprint {
        data_dir: cluster.dir.clone(),
        containerd: cluster.dir.join("containerd"),
        bridge: BRIDGE.to_owned(),
        cgroup_root: CGROUP.to_owned(),
    }
}

/// What of the node is on this machine besides files.
fn left(cluster: &Cluster) -> Vec<String> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let dir = cluster.dir.display().to_string();
    let mounts = file("/proc/self/mounts");
    let mut left: Vec<String> = mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect();
    let firewall = std::process::Command::new("iptables").args(["-t", "nat", "-S"]).output().expect("iptables runs");
    let firewall = String::from_utf8_lossy(&firewall.stdout).into_owned();
    left.extend(firewall.lines().filter(|line| line.contains(BRIDGE)).map(str::to_owned));
    let links = [Path::new("/sys/class/net").join(BRIDGE)];
    let hierarchies = mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    let cgroups = hierarchies.map(|hierarchy| Path::new(hierarchy).join(CGROUP.trim_start_matches('/')));
    let paths = links.into_iter().chain(cgroups).filter(|path| path.exists());
    left.extend(paths.map(|path| path.display().to_string()));
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_containerd() {
    if let Err(why) = containerd_usable() {
        println!("skipped: {why}");
        return;
    }
    let cluster = Cluster::new("containerd");
    let state = cluster.state.clone();
    let server = cluster.serve("api").await;
    let runtime = ContainerdConfig {
        dir: cluster.dir.join("containerd"),
        pod_cidr: Some(CIDR.to_owned()),
        bridge: BRIDGE.to_owned(),
    };
    let _cleanup = Cleanup(footprint(&cluster));
    let containerd = Containerd::start(runtime).await.expect("containerd starts");
    let port = free_port();
    let config = config(&cluster, server.address, &containerd.socket(), port);
    state.put("/api/v1/namespaces/d/configmaps/conf", json!({"data": {"key": "value"}}));
    state.put("/api/v1/namespaces/d/secrets/secret", json!({"data": {"key": "c2VjcmV0"}}));

    let stop = CancellationToken::new();
    let running = tokio::spawn(kubelet_agent::run(config.clone(), stop.clone()));
    state.wait("/api/v1/nodes/real", "ready", ready).await;
    state.put(POD, web());
    let pod = state.wait(POD, "ready", ready).await.expect("a pod");
    let ip = pod["status"]["podIP"].as_str().expect("an address").to_owned();
    assert!(ip.starts_with("10.199.77."), "{ip}");

    let mounted = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    for kind in ["kubernetes.io~secret/secret", "kubernetes.io~projected/token"] {
        let here =
            |line: &str| line.starts_with("tmpfs ") && line.contains(kind) && line.contains("kontiki-containerd");
        assert!(mounted.lines().any(here), "{kind} is on a disk");
    }

    let caller = Caller { cluster: &cluster, port, certificate: "api" };
    let (status, log) = caller.get("/containerLogs/d/web/web").await;
    assert_eq!(status, 200);
    assert!(log.contains("web serves http on port 8080"), "{log}");
    let (output, status) =
        caller.exec(&["sh", "-c", "cat;cat%20/mem/greeting%20/conf/key%20/token/token;echo%20$IP"], "in\n").await;
    assert_eq!(output, format!("in\nhello\nvaluea-token{ip}\n"));
    assert_eq!(status["status"], "Success");
    let (_, status) = caller.exec(&["sh", "-c", "exit%203"], "").await;
    assert_eq!(
        (&status["reason"], &status["details"]["causes"][0]["message"]),
        (&json!("NonZeroExitCode"), &json!("3"))
    );
    cluster.certificate("nobody", "system:node:other", "system:nodes");
    let nobody = Caller { cluster: &cluster, port, certificate: "nobody" };
    assert_eq!(nobody.get("/pods").await.0, 403);
    let uncertified = Caller { cluster: &cluster, port, certificate: "" };
    assert_eq!(uncertified.get("/metrics/resource").await.0, 401);
    assert_eq!(uncertified.get_as("/metrics/resource", Some("another")).await.0, 401);
    assert_eq!(uncertified.get_as("/pods", Some(SCRAPER)).await.0, 403);
    let (status, metrics) = uncertified.get_as("/metrics/resource", Some(SCRAPER)).await;
    assert_eq!(status, 200);
    assert!(
        metrics.contains("container_memory_working_set_bytes{container=\"web\",namespace=\"d\",pod=\"web\"} "),
        "{metrics}"
    );

    // The agent starts again: the container goes on and the pod never stops to be ready.
    stop.cancel();
    running.await.expect("joined").expect("ended well");
    let again = CancellationToken::new();
    let running = tokio::spawn(kubelet_agent::run(config, again.clone()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = state.get(POD).expect("a pod");
    assert_eq!(
        after["status"]["containerStatuses"][0]["containerID"],
        pod["status"]["containerStatuses"][0]["containerID"]
    );
    assert!(ready(Some(&after)));

    // So it does when containerd is killed; containerd comes back.
    let killed = containerd.pid().expect("it runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .expect("killed");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while containerd.pid().is_none_or(|pid| pid == killed) {
        assert!(tokio::time::Instant::now() < deadline, "containerd is not started again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    state.wait("/api/v1/nodes/real", "ready with another containerd", ready).await;
    let after = state.get(POD).expect("a pod");
    assert_eq!(
        after["status"]["containerStatuses"][0]["containerID"],
        pod["status"]["containerStatuses"][0]["containerID"]
    );

    // A failing liveness probe restarts the container.
    let (_, status) = caller.exec(&["touch", "/tmp/bad"], "").await;
    assert_eq!(status["status"], "Success");
    let restarted =
        |p: Option<&Value>| p.is_some_and(|p| p["status"]["containerStatuses"][0]["restartCount"] == 1) && ready(p);
    state.wait(POD, "restarted", restarted).await;

    // Called unreachable, as after a partition, the node says that it is not.
    let mut node = state.get("/api/v1/nodes/real").expect("a node");
    for condition in node["status"]["conditions"].as_array_mut().expect("conditions") {
        condition["status"] = json!("Unknown");
    }
    state.put("/api/v1/nodes/real", node);

    state.delete(POD, 5);
    state.wait(POD, "gone", |p| p.is_none()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pods = std::fs::read_dir(cluster.dir.join("kubelet/pods")).map_or(0, |d| d.count());
    assert_eq!(pods, 0, "files of the pod are left");
    state.wait("/api/v1/nodes/real", "ready again", ready).await;
    let events = state.list("/api/v1/namespaces/d/events");
    let reasons: Vec<&str> = events.iter().filter_map(|e| e["reason"].as_str()).collect();
    for reason in ["Pulled", "Created", "Started", "Unhealthy", "Killing"] {
        assert!(reasons.contains(&reason), "no {reason} in {reasons:?}");
    }
    // What is not ended in order leaves nothing either.
    let mut unended = web();
    unended["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": free_port()}]);
    state.put(POD, unended);
    state.wait(POD, "ready", ready).await;
    again.cancel();
    running.await.expect("joined").expect("ended well");
    containerd.stop().await;
    assert!(left(&cluster).len() > 5, "{:#?}", left(&cluster));
    assert_eq!(footprint(&cluster).remove(), Vec::<String>::new());
    assert_eq!(left(&cluster), Vec::<String>::new());
    std::fs::remove_dir_all(&cluster.dir).expect("nothing is busy");
}
