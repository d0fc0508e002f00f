//! The Lease objects that show users and tools who leads, as upstream's components keep them.

use std::time::Duration;

use api_machinery::error::{Reason, Result};
use api_machinery::time;
use controller_logic::plan::{PatchType, Target};
use controller_logic::{Chosen, Gvr};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::{clock, metrics};

/// Upstream's duration and renewal. The real leadership is the store's and much quicker.
const DURATION_SECONDS: u32 = 15;
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// Upstream's components of which something runs here; they move together. The Lease of another is left to those who
/// run it elsewhere.
pub(crate) fn names(chosen: &Chosen) -> Vec<&'static str> {
    let components =
        [(chosen.runs_controllers(), "kube-controller-manager"), (chosen.runs_scheduler(), "kube-scheduler")];
    components.into_iter().filter(|(runs, _)| *runs).map(|(_, name)| name).collect()
}

/// Keeps the Leases up to date until `stop`, then gives them up.
pub(crate) async fn keep(names: Vec<&'static str>, client: Client, identity: String, stop: CancellationToken) {
    let took_over = clock::now();
    names.iter().for_each(|name| metrics::leading(name, true));
    loop {
        for name in names.iter().copied() {
            if let Err(error) = renew(&client.managing(name), name, &identity, took_over).await {
                tracing::debug!(name, %error, "the Lease object is not up to date");
            }
        }
        if tokio::time::timeout(RENEW_EVERY, stop.cancelled()).await.is_ok() {
            break;
        }
    }
    for name in names {
        metrics::leading(name, false);
        let released = json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } });
        // Another may have taken it over already: then the fence refuses this, rightly.
        let _ = client.managing(name).patch(&target(name), "", PatchType::Merge, released).await;
    }
}

fn target(name: &str) -> Target {
    Target::new(Gvr::new("coordination.k8s.io", "v1", "leases"), "kube-system", name)
}

async fn renew(client: &Client, name: &str, identity: &str, took_over: Timestamp) -> Result<()> {
    let target = target(name);
    match client.read(&target).await? {
        Some(found) => {
            let body = json!({ "spec": spec(&found, identity, took_over) });
            client.patch(&target, "", PatchType::Merge, body).await?;
        }
        None => {
            let object = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": name, "namespace": "kube-system" },
                "spec": spec(&Value::Null, identity, took_over),
            });
            match client.create(&target, "", object).await {
                Err(error) if error.reason != Reason::AlreadyExists => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn spec(found: &Value, identity: &str, took_over: Timestamp) -> Value {
    let before = &found["spec"];
    let renewed = time::micros(clock::now());
    let mut spec = json!({
        "holderIdentity": identity, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": renewed,
    });
    if before["holderIdentity"] != json!(identity) {
        spec["acquireTime"] = json!(time::micros(took_over));
        let transitions = before["leaseTransitions"].as_i64();
        spec["leaseTransitions"] = json!(transitions.map_or(0, |count| count + 1));
    }
    spec
}
