//! Nodes with fake runtimes against a small API server.

mod support;

use std::time::{Duration, Instant};

use kubelet_agent::{AgentConfig, Runtime, run_hollow};
use serde_json::json;
use support::{Cluster, ready};
use tokio_util::sync::CancellationToken;

fn config(cluster: &Cluster, name: &str, servers: &[std::net::SocketAddr]) -> AgentConfig {
    AgentConfig {
        node_name: name.to_owned(),
        node_ip: "127.0.0.1".parse().expect("an address"),
        kubeconfig: cluster.kubeconfig(name, servers[0]),
        servers: servers[1..].iter().map(|s| format!("https://{s}")).collect::<Vec<_>>().into(),
        runtime: Runtime::Fake,
        root_dir: cluster.dir.join(name),
        port: 0,
        serving_certificate: None,
        client_ca: None,
        pod_cidr: Some("10.7.0.0/24".to_owned()),
        pod_network: None,
        cgroup_root: "/".to_owned(),
        labels: vec![("zone".to_owned(), "a".to_owned())],
        max_pods: 10,
        stop_pods_on_exit: false,
    }
}

fn pod(node: &str) -> serde_json::Value {
    json!({"spec": {"nodeName": node, "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}}]}})
}

#[tokio::test]
async fn a_pod_lives_and_dies_and_servers_may_fail() {
    let cluster = Cluster::new("hollow");
    let state = cluster.state.clone();
    let (one, two) = (cluster.serve("one").await, cluster.serve("two").await);
    let stop = CancellationToken::new();
    let nodes: Vec<_> = ["n1", "n2"].iter().map(|n| config(&cluster, n, &[one.address, two.address])).collect();
    let running = tokio::spawn(run_hollow(nodes, stop.clone()));

    let node = state.wait("/api/v1/nodes/n1", "registered", |n| n.is_some()).await.expect("a node");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(node["metadata"]["labels"]["zone"], "a");
    assert_eq!(node["status"]["capacity"]["pods"], "10");
    assert!(ready(Some(&node)));
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    let lease = state.wait(lease, "held", |l| l.is_some()).await.expect("a lease");
    assert_eq!(lease["spec"]["holderIdentity"], "n1");
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);

    let path = "/api/v1/namespaces/d/pods/p";
    state.put(path, pod("n1"));
    let running_pod = state.wait(path, "ready", ready).await.expect("a pod");
    assert_eq!(running_pod["status"]["phase"], "Running");
    assert_eq!(running_pod["status"]["podIP"], "10.7.0.2");
    assert_eq!(running_pod["status"]["qosClass"], "BestEffort");
    assert_eq!(running_pod["status"]["containerStatuses"][0]["restartCount"], 0);

    // The server that n1 hangs on goes away: within two seconds another one has its news.
    one.kill();
    let began = Instant::now();
    let second = "/api/v1/namespaces/d/pods/q";
    state.put(second, pod("n1"));
    state.wait(second, "ready", ready).await;
    assert!(began.elapsed() < Duration::from_secs(2), "failing over took {:?}", began.elapsed());
    let first = state.get(path).expect("still there");
    assert_eq!(first["status"]["containerStatuses"][0]["restartCount"], 0);

    state.delete(path, 30);
    state.wait(path, "gone", |p| p.is_none()).await;
    // What nobody changes is not told again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let patches = state.count("PATCH pods/status");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(state.count("PATCH pods/status"), patches);
    assert!(patches <= 8, "{patches} status patches for two pods");

    stop.cancel();
    running.await.expect("joined").expect("ended well");
}

/// One node and what it takes to end it.
async fn one_node(cluster: &Cluster) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let server = cluster.serve("one").await;
    let config = config(cluster, "n1", &[server.address]);
    let stop = CancellationToken::new();
    let ends = stop.clone();
    let running = tokio::spawn(async move { run_hollow(vec![config], ends).await.expect("ended well") });
    (stop, running)
}

#[tokio::test]
async fn a_pod_goes_although_its_last_status_is_refused() {
    let cluster = Cluster::new("refused");
    let state = cluster.state.clone();
    let (stop, running) = one_node(&cluster).await;
    let path = "/api/v1/namespaces/d/pods/p";
    state.put(path, pod("n1"));
    state.wait(path, "ready", ready).await;
    state.refuse("PATCH pods/status", http::StatusCode::UNPROCESSABLE_ENTITY);
    state.delete(path, 30);
    state.wait(path, "gone", |p| p.is_none()).await;
    stop.cancel();
    running.await.expect("joined");
}

#[tokio::test]
async fn pods_that_come_together_see_each_other() {
    let cluster = Cluster::new("together");
    let state = cluster.state.clone();
    let names = ["a", "b", "c"];
    let path = |name: &str| format!("/api/v1/namespaces/d/pods/{name}");
    for name in names {
        let mut pod = pod("n1");
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
        state.put(&path(name), pod);
    }
    let (stop, running) = one_node(&cluster).await;
    let mut phases = Vec::new();
    for name in names {
        let told = |p: Option<&serde_json::Value>| {
            p.is_some_and(|p| p["status"]["phase"] == "Failed" || p["status"]["phase"] == "Running")
        };
        let pod = state.wait(&path(name), "taken or refused", told).await.expect("a pod");
        phases.push(format!("{} {}", pod["status"]["phase"], pod["status"]["reason"]));
    }
    phases.sort();
    assert_eq!(phases, [r#""Failed" "NodePorts""#, r#""Failed" "NodePorts""#, r#""Running" null"#]);
    stop.cancel();
    running.await.expect("joined");
}

#[tokio::test]
async fn labels_that_a_node_was_given_count() {
    let cluster = Cluster::new("labels");
    let state = cluster.state.clone();
    let (stop, running) = one_node(&cluster).await;
    let mut node = state.wait("/api/v1/nodes/n1", "ready", ready).await.expect("a node");
    node["metadata"]["labels"]["disk"] = json!("fast");
    state.put("/api/v1/nodes/n1", node);
    let path = "/api/v1/namespaces/d/pods/p";
    let mut pod = pod("n1");
    pod["spec"]["nodeSelector"] = json!({"disk": "fast"});
    state.put(path, pod);
    state.wait(path, "ready", ready).await;
    stop.cancel();
    running.await.expect("joined");
}

#[tokio::test]
async fn a_node_without_its_port_is_never_there() {
    let cluster = Cluster::new("port");
    let server = cluster.serve("one").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = config(&cluster, "n1", &[server.address]);
    config.port = taken.local_addr().expect("an address").port();
    config.serving_certificate = Some(cluster.certificate("serving", "system:node:n1", "system:nodes"));
    config.client_ca = Some(cluster.dir.join("ca.crt"));
    let failed = kubelet_agent::run(config, CancellationToken::new()).await.expect_err("the port is taken");
    assert!(failed.to_string().contains("listening on"), "{failed}");
    assert!(cluster.state.get("/api/v1/nodes/n1").is_none());
}
