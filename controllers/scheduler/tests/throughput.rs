//! How fast decisions are on a large cluster. Prints the rate; fails when it is hopeless even without optimisation
//! on a busy machine.

use std::sync::Arc;
use std::time::Instant;

use api_machinery::labels::{Operator, Requirement, Selector};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Decision, Scheduler};
use serde_json::json;

const NODES: usize = 5_000;
const PODS: usize = 2_000;

fn node(index: usize) -> Node {
    let (name, zone) = (format!("node-{index}"), format!("zone-{}", index % 3));
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}},
    }))
    .expect("a node")
}

fn pod(index: usize) -> Arc<Pod> {
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}]);
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{index}"), "namespace": "ns", "uid": format!("uid-{index}"),
                "labels": {"app": "web"}, "ownerReferences": owner},
            "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c", "image": "web",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]},
        }))
        .expect("a pod"),
    )
}

#[test]
fn a_large_cluster() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    (0..NODES).for_each(|index| scheduler.set_node(&node(index), now));
    let equal = Requirement { key: "app".to_owned(), operator: Operator::In, values: vec!["web".to_owned()] };
    scheduler.set_owner("set", Some(Selector { requirements: vec![equal], nothing: false }));
    let pods: Vec<_> = (0..PODS).map(pod).collect();
    let began = Instant::now();
    pods.iter().for_each(|pod| scheduler.set_pod(pod, now));
    let (mut placed, mut random) = (0, 1_u64);
    while let Some(attempt) = scheduler.next(now, random) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        placed += usize::from(matches!(attempt.decision, Decision::Place { .. }));
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = PODS as f64 / seconds;
    println!("{NODES} nodes, {PODS} pods: {rate:.0} decisions/s");
    assert_eq!(placed, PODS);
    assert!(rate > 20.0, "{rate:.0} decisions/s");
    let fullest = (0..NODES)
        .filter_map(|index| scheduler.snapshot().node(&format!("node-{index}")))
        .map(|node| node.pods.len())
        .max();
    assert_eq!(fullest, Some(1), "2,000 pods of one set on 5,000 nodes are spread");
}
