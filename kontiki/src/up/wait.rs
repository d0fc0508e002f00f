//! Waiting until the cluster is what was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::client::Client;

const POLL: Duration = Duration::from_millis(100);

/// Until `look` answers `Ok`; then its last reason not to.
async fn until<F>(patience: Duration, what: &str, mut look: F) -> Result<(), Failure>
where
    F: AsyncFnMut() -> Result<(), Failure>,
{
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(format!("{what} within {} s: {error}", patience.as_secs()).into());
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

pub(super) async fn replica(client: &Client, patience: Duration) -> Result<(), Failure> {
    until(patience, &format!("{} did not become ready", client.server), async || {
        client.get("/readyz").await?.ok().map(|_| ())
    })
    .await
}

pub(super) async fn nodes(client: &Client, wished: &[String], patience: Duration) -> Result<(), Failure> {
    until(patience, "the nodes did not become Ready", async || {
        let list = client.get("/api/v1/nodes").await?.ok()?;
        let ready: BTreeSet<&str> = items(&list).filter(|node| condition(node, "Ready")).filter_map(name).collect();
        let missing: Vec<&String> = wished.iter().filter(|node| !ready.contains(node.as_str())).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} of {} are not, first {}", missing.len(), wished.len(), missing[0]).into())
        }
    })
    .await
}

pub(super) async fn deployment(client: &Client, path: &str, patience: Duration) -> Result<(), Failure> {
    until(patience, "the sample Deployment did not become Available", async || {
        let deployment = client.get(path).await?.ok()?;
        if condition(&deployment, "Available") { Ok(()) } else { Err("it is not yet".into()) }
    })
    .await
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

fn condition(object: &Value, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == wanted && one["status"] == "True")
}
