//! Leadership between replicas, as users see it.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, deployment};

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
