//! The sample Deployment: a small web server in two replicas behind a Service.

use std::time::Duration;

use serde_json::{Value, json};

use super::admin::Admin;
use super::wait::{Limit, Wait};
use crate::Failure;

pub(super) const NAME: &str = "sample";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const PODS: &str = "/api/v1/namespaces/default/pods?labelSelector=app%3Dsample";
/// Between tries of making it.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: u32 = 10;
/// How long it may take to be Available.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for one of an earlier start: it may be what its user made of it, and never become so.
const PATIENCE_AGAIN: Duration = Duration::from_secs(15);

/// Makes it where it is absent, and waits until it is Available.
pub(super) async fn deploy(wait: &Wait<'_>) -> Result<(), Failure> {
    let is_new = create(wait.admin, DEPLOYMENTS, &deployment()).await?;
    create(wait.admin, SERVICES, &service()).await?;
    let patience = if is_new { PATIENCE } else { PATIENCE_AGAIN };
    // No process is needed so much that its failing should end the waiting.
    let limit = Limit { patience, needs: "no process" };
    wait.deployment(&format!("{DEPLOYMENTS}/{NAME}"), PODS, limit).await
}

/// Replicas may just be dying, or electing a leader.
async fn create(admin: &Admin, path: &str, object: &Value) -> Result<bool, Failure> {
    for _ in 1..TRIES {
        if let Ok(is_new) = admin.create(path, object).await {
            return Ok(is_new);
        }
        tokio::time::sleep(RETRY).await;
    }
    admin.create(path, object).await
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{
                "name": "web", "image": kubelet_agent::images::SAMPLE, "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
            }]}},
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}
