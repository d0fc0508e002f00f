//! Leadership between replicas, as users see it.

use std::time::{Duration, Instant};

use crate::common::{Cluster, deployment};
use controller_runtime::leadership::LEADERSHIP_KEY;
use controller_runtime::{Chosen, Powers};
use store_api::ReadAt;

async fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.get("coordination.k8s.io/v1/leases", "kube-system/kube-controller-manager").await?;
    Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
}

async fn takes_over(cluster: &Cluster, identity: &str, within: Duration) {
    let began = Instant::now();
    cluster.eventually("taken over", || async { holder(cluster).await.as_deref() == Some(identity) }).await;
    assert!(began.elapsed() < within, "{identity} took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over() {
    let cluster = Cluster::start().await;
    let one = cluster.replica("one").await;
    takes_over(&cluster, "one", Duration::from_secs(5)).await;
    let two = cluster.replica("two").await;
    cluster.nodes(1).await;

    one.stop.cancel();
    takes_over(&cluster, "two", Duration::from_millis(1500)).await;
    one.task.await.expect("ends");

    let three = cluster.replica("three").await;
    // As if killed: nothing is released.
    two.task.abort();
    let began = Instant::now();
    cluster.create("apps/v1/deployments", "default/", deployment("after", 1, "a:1")).await;
    cluster
        .eventually("the new leader acts", || async {
            cluster.list("v1/pods", "default").await.iter().any(|pod| pod["spec"]["nodeName"] == "node-0")
        })
        .await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    takes_over(&cluster, "three", Duration::from_secs(2)).await;
    drop(three);
}

/// What is not chosen does nothing, and leaves the Lease of its component to others.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_chosen_runs() {
    let cluster = Cluster::start().await;
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let chosen = |list| Chosen::parse(&words(list)).expect("known names");
    let none = cluster.replica_with("none", Powers::default(), chosen(&[])).await;
    let most = chosen(&["*", "-replicaset-controller", "-kube-scheduler"]);
    let replica = cluster.replica_with("most", Powers::default(), most).await;
    takes_over(&cluster, "most", Duration::from_secs(5)).await;
    cluster.nodes(1).await;
    cluster.create("apps/v1/deployments", "default/", deployment("web", 1, "a:1")).await;
    let sets = || async { !cluster.list("apps/v1/replicasets", "default").await.is_empty() };
    cluster.eventually("a ReplicaSet", sets).await;
    // Long enough for a pod, if anybody made one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(cluster.list("v1/pods", "default").await.is_empty(), "the controller of ReplicaSets was not chosen");
    let lease = |name: &str| format!("kube-system/{name}");
    let leases = "coordination.k8s.io/v1/leases";
    assert!(cluster.get(leases, &lease("kube-scheduler")).await.is_none(), "the scheduler was not chosen");
    replica.stop.cancel();
    replica.task.await.expect("ends");

    let rest = chosen(&["replicaset", "kube-scheduler"]);
    let _replica = cluster.replica_with("rest", Powers::default(), rest).await;
    let bound =
        || async { cluster.list("v1/pods", "default").await.iter().any(|pod| pod["spec"]["nodeName"] == "node-0") };
    cluster.eventually("a pod on the node", bound).await;
    assert!(cluster.get(leases, &lease("kube-scheduler")).await.is_some());
    none.stop.cancel();
    none.task.await.expect("whoever runs nothing ends too");
}

/// Ends the leadership of whoever has it, who is told by the store only.
async fn depose(cluster: &Cluster) {
    let key = cluster.store.get(LEADERSHIP_KEY.as_bytes(), ReadAt::Local).await.expect("read").kv;
    if let Some(key) = key {
        cluster.store.lease_revoke(key.lease).await.expect("revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_cut_short_is_finished_once() {
    const PODS: usize = 120;
    let cluster = Cluster::start().await;
    let _replicas = (cluster.replica("one").await, cluster.replica("two").await);
    cluster.nodes(3).await;
    cluster
        .eventually("service account", || async {
            cluster.get("v1/serviceaccounts", "default/default").await.is_some()
        })
        .await;
    cluster.create("apps/v1/deployments", "default/", deployment("web", 120, "a:1")).await;
    for some in [10, 40, 70, 100] {
        let made = || async { cluster.list("v1/pods", "default").await.len() >= some };
        cluster.eventually("some pods", made).await;
        depose(&cluster).await;
    }
    cluster
        .eventually("all on nodes", || async {
            let pods = cluster.list("v1/pods", "default").await;
            pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count() == PODS
        })
        .await;
    assert_eq!(cluster.history_of_pods().await, (PODS, 0), "made and deleted");
    assert_eq!(cluster.list("apps/v1/replicasets", "default").await.len(), 1);
}
