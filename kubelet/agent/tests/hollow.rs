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
        servers: servers[1..].iter().map(|s| format!("https://{s}")).collect(),
        runtime: Runtime::Fake,
        root_dir: cluster.dir.join(name),
        port: 0,
        serving_certificate: None,
        client_ca: None,
        pod_cidr: "10.7.0.0/24".to_owned(),
        cgroup_root: "/".to_owned(),
        labels: vec![("zone".to_owned(), "a".to_owned())],
        max_pods: 10,
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
