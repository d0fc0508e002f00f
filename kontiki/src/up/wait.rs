//! Waiting until the cluster is what was asked for.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::admin::Admin;
use super::children::Children;
use super::fresh;
use crate::Failure;

/// Between looks; longer when there is much to look at.
const POLL: Duration = Duration::from_millis(100);
const SLOW_POLL: Duration = Duration::from_millis(500);
/// More nodes than that are much.
const MANY: usize = 20;

pub(super) struct Wait<'a> {
    pub(super) admin: &'a Admin,
    pub(super) children: &'a Mutex<Children>,
    /// When this `up` began: what is older is from an earlier one.
    pub(super) start: Timestamp,
}

/// How long something may take.
#[derive(Clone, Copy)]
pub(super) struct Limit<'a> {
    pub(super) patience: Duration,
    /// Processes whose failing ends the waiting early, by the beginning of their names.
    pub(super) needs: &'a str,
}

impl Wait<'_> {
    /// Until `look` answers `Ok`; then its last reason not to.
    async fn until<F>(&self, limit: Limit<'_>, poll: Duration, what: &str, mut look: F) -> Result<(), Failure>
    where
        F: AsyncFnMut() -> Result<(), Failure>,
    {
        let deadline = Instant::now() + limit.patience;
        loop {
            let error = match look().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(why) = self.children.lock().await.hopeless(limit.needs) {
                return Err(why.into());
            }
            if Instant::now() > deadline {
                return Err(format!("{what} within {} s: {error}", limit.patience.as_secs()).into());
            }
            tokio::time::sleep(poll).await;
        }
    }

    pub(super) async fn replica(&self, number: u16, limit: Limit<'_>) -> Result<(), Failure> {
        let what = format!("replica {number} did not become ready");
        self.until(limit, POLL, &what, async || self.admin.is_ready(number).await).await
    }

    pub(super) async fn nodes(&self, wished: &[String], limit: Limit<'_>) -> Result<(), Failure> {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        self.until(limit, poll(wished), "the nodes did not become Ready", async || {
            let (nodes, leases) = (self.admin.get("/api/v1/nodes").await?, self.admin.get(LEASES).await?);
            let missing = fresh::missing_nodes(&nodes, &leases, wished, self.start);
            match missing.first() {
                None => Ok(()),
                Some(first) => Err(format!("{} of {} are not, first {first}", missing.len(), wished.len()).into()),
            }
        })
        .await
    }

    /// Pods of an earlier run either run again or say why not.
    pub(super) async fn pods(&self, nodes: &[String], limit: Limit<'_>) -> Result<(), Failure> {
        self.until(limit, poll(nodes), "pods of an earlier run did not start again", async || {
            let left = fresh::unsettled_pods(&self.admin.get("/api/v1/pods").await?, nodes, self.start);
            match left.first() {
                None => Ok(()),
                Some(first) => Err(format!("{} have not yet, first {first}", left.len()).into()),
            }
        })
        .await
    }

    /// Available, by pods that run since this start.
    pub(super) async fn deployment(&self, path: &str, pods: &str, limit: Limit<'_>) -> Result<(), Failure> {
        self.until(limit, POLL, "it did not become Available", async || {
            let deployment = self.admin.get(path).await?;
            let wished = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
            let running = fresh::running_pods(&self.admin.get(pods).await?, self.start);
            if fresh::is_true(&deployment, "Available") && (running > 0 || wished == 0) {
                return Ok(());
            }
            Err(format!("{running} of its {wished} pods run").into())
        })
        .await
    }
}

fn poll(nodes: &[String]) -> Duration {
    if nodes.len() > MANY { SLOW_POLL } else { POLL }
}
