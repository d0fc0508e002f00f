//! Deployments from creation to deletion, through the registry, the controllers and the scheduler.

use crate::common::{Cluster, condition, deployment};
use api_machinery::{Value, object};
use serde_json::json;

const DEPLOYMENTS: &str = "apps/v1/deployments";
const SETS: &str = "apps/v1/replicasets";
const PODS: &str = "v1/pods";

async fn started() -> (Cluster, crate::common::Replica) {
    let cluster = Cluster::start().await;
    let replica = cluster.replica("one").await;
    cluster.nodes(3).await;
    cluster
        .eventually("default service account", || async {
            cluster.get("v1/serviceaccounts", "default/default").await.is_some()
        })
        .await;
    (cluster, replica)
}

async fn is_rolled_out(cluster: &Cluster, name: &str, replicas: i64) -> bool {
    let Some(found) = cluster.get(DEPLOYMENTS, &format!("default/{name}")).await else { return false };
    let status = &found["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let observed = status["observedGeneration"].as_i64() == Some(object::generation(&found));
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    observed && counts.iter().all(|field| number(field) == replicas)
}

fn images(pods: &[std::sync::Arc<Value>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_lives() {
    let (cluster, replica) = started().await;
    cluster.create(DEPLOYMENTS, "default/", deployment("web", 3, "web:1")).await;
    cluster.eventually("available", || is_rolled_out(&cluster, "web", 3)).await;
    let found = cluster.get(DEPLOYMENTS, "default/web").await.expect("there");
    assert_eq!(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let available = condition(&found, "Available").expect("a condition");
    assert_eq!((&available["status"], &available["reason"]), (&json!("True"), &json!("MinimumReplicasAvailable")));
    let pods = cluster.list(PODS, "default").await;
    let mut nodes: Vec<_> = pods.iter().map(|pod| object::str_at(pod, "spec.nodeName")).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-0", "node-1", "node-2"], "spread over the nodes");
    cluster
        .eventually("progress is reported as complete", || async {
            let found = cluster.get(DEPLOYMENTS, "default/web").await.expect("there");
            condition(&found, "Progressing").is_some_and(|own| own["reason"] == "NewReplicaSetAvailable")
        })
        .await;

    // Scale up and down.
    for replicas in [5, 2] {
        cluster.merge(DEPLOYMENTS, "default/web", json!({"spec": {"replicas": replicas}})).await;
        cluster.eventually("scaled", || is_rolled_out(&cluster, "web", replicas)).await;
        cluster
            .eventually("pods gone", || async {
                cluster.list(PODS, "default").await.len() == usize::try_from(replicas).expect("small")
            })
            .await;
    }

    // Roll forward, then back to the first revision.
    for (image, revision, sets) in [("web:2", "2", 2), ("web:1", "3", 2)] {
        let template = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
        cluster.merge(DEPLOYMENTS, "default/web", json!({"spec": {"template": template}})).await;
        cluster.eventually("rolled out", || is_rolled_out(&cluster, "web", 2)).await;
        cluster
            .eventually("old pods gone", || async { images(&cluster.list(PODS, "default").await) == [image; 2] })
            .await;
        let found = cluster.get(DEPLOYMENTS, "default/web").await.expect("there");
        assert_eq!(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"], revision);
        assert_eq!(cluster.list(SETS, "default").await.len(), sets);
    }

    // Events tell the story.
    cluster
        .eventually("events", || async {
            let events = cluster.list("v1/events", "default").await;
            let reasons: Vec<_> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
            ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"]
                .iter()
                .all(|own| reasons.contains(own))
        })
        .await;

    cluster.delete(DEPLOYMENTS, "default/web", Some("Background")).await;
    cluster
        .eventually("all is gone", || async {
            cluster.list(SETS, "default").await.is_empty() && cluster.list(PODS, "default").await.is_empty()
        })
        .await;
    replica.stop.cancel();
    replica.task.await.expect("ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_cascades_as_asked() {
    let (cluster, _replica) = started().await;
    cluster.create(DEPLOYMENTS, "default/", deployment("orphaned", 2, "a:1")).await;
    cluster.create(DEPLOYMENTS, "default/", deployment("fore", 2, "a:1")).await;
    cluster
        .eventually("available", || async {
            is_rolled_out(&cluster, "orphaned", 2).await && is_rolled_out(&cluster, "fore", 2).await
        })
        .await;
    cluster.delete(DEPLOYMENTS, "default/orphaned", Some("Orphan")).await;
    cluster
        .eventually("only the owner goes", || async { cluster.get(DEPLOYMENTS, "default/orphaned").await.is_none() })
        .await;
    let owned_by_nobody =
        |sets: &[std::sync::Arc<Value>]| sets.iter().filter(|set| object::owner_references(set).is_empty()).count();
    assert_eq!(owned_by_nobody(&cluster.list(SETS, "default").await), 1);
    cluster.delete(DEPLOYMENTS, "default/fore", Some("Foreground")).await;
    cluster
        .eventually("the owner goes last", || async {
            let gone = cluster.get(DEPLOYMENTS, "default/fore").await.is_none();
            let pods = cluster.list(PODS, "default").await;
            let left = pods.iter().filter(|pod| object::label(pod, "app") == Some("fore")).count();
            assert!(!gone || left == 0, "the owner went before its dependents");
            gone
        })
        .await;
    let pods = cluster.list(PODS, "default").await;
    assert_eq!(pods.iter().filter(|pod| object::label(pod, "app") == Some("orphaned")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_emptied_before_it_goes() {
    let (cluster, _replica) = started().await;
    cluster.create("v1/namespaces", "", json!({"metadata": {"name": "team"}})).await;
    cluster
        .eventually("service account and CA", || async {
            cluster.get("v1/serviceaccounts", "team/default").await.is_some()
                && cluster.get("v1/configmaps", "team/kube-root-ca.crt").await.is_some()
        })
        .await;
    cluster.create(DEPLOYMENTS, "team/", deployment("web", 2, "web:1")).await;
    cluster.eventually("pods", || async { cluster.list(PODS, "team").await.len() == 2 }).await;
    cluster.delete("v1/namespaces", "team", None).await;
    cluster.eventually("gone", || async { cluster.get("v1/namespaces", "team").await.is_none() }).await;
    for path in [PODS, SETS, DEPLOYMENTS, "v1/configmaps", "v1/serviceaccounts", "v1/events"] {
        assert_eq!(cluster.list(path, "team").await.len(), 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_says_why() {
    let (cluster, _replica) = started().await;
    let mut big = deployment("big", 1, "big:1");
    big["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "64"}});
    cluster.create(DEPLOYMENTS, "default/", big).await;
    let message = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    cluster
        .eventually("the condition", || async {
            let pods = cluster.list(PODS, "default").await;
            pods.iter().any(|pod| {
                condition(pod, "PodScheduled").is_some_and(|own| {
                    own["reason"] == "Unschedulable" && own["status"] == "False" && own["message"] == message
                })
            })
        })
        .await;
    cluster
        .eventually("the event", || async {
            let events = cluster.list("v1/events", "default").await;
            events.iter().any(|event| event["reason"] == "FailedScheduling" && event["message"] == message)
        })
        .await;
    // A node that is large enough comes.
    let amounts = json!({"cpu": "128", "memory": "8Gi", "pods": "110"});
    let node = json!({"metadata": {"name": "large"}, "status": {"capacity": amounts, "allocatable": amounts}});
    cluster.create("v1/nodes", "", node).await;
    cluster.heartbeat("large").await;
    cluster.eventually("scheduled after all", || is_rolled_out(&cluster, "big", 1)).await;
}
