//! The sample Deployment: a small web server in two replicas behind a Service.

use std::time::Duration;

use serde_json::{Value, json};

use super::wait;
use crate::Failure;
use crate::client::Client;

pub(super) const NAME: &str = "sample";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";

pub(super) async fn deploy(client: &Client, patience: Duration) -> Result<(), Failure> {
    for (path, object) in [(DEPLOYMENTS, deployment()), (SERVICES, service())] {
        let answer = client.post(path, &object).await?;
        // There from an earlier start: left as it is.
        if answer.status != 409 {
            answer.ok()?;
        }
    }
    wait::deployment(client, &format!("{DEPLOYMENTS}/{NAME}"), patience).await
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
