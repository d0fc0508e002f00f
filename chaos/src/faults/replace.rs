//! A replica that is lost for good, with its disk: another joins under a new id, the lost one is removed.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, anyone};
use crate::Failure;
use crate::cluster::{Cluster, START_PATIENCE};

#[derive(Default)]
pub(super) struct Replace {
    lost: usize,
    new: usize,
}

#[async_trait]
impl Fault for Replace {
    fn name(&self) -> &'static str {
        "replace-member"
    }

    async fn lacks(&self, cluster: &Cluster) -> Option<String> {
        let offered = cluster.kontiki(&["member", "remove", "--help"]).await;
        offered.err().map(|_| "this kontiki has no `member remove`".to_owned())
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let (number, role) = anyone(cluster, dice).await?;
        self.lost = number;
        let lost = cluster.replica(self.lost);
        let id = lost.status().await?.id;
        let at = Instant::now();
        cluster.kill(self.lost).await?;
        lost.retire();
        let remaining = cluster.replicas().into_iter().next().ok_or("nobody is left")?;
        let kubeconfig = remaining.kubeconfig().display().to_string();
        // Another has to lead first.
        cluster.leader().await?;
        cluster.kontiki(&["member", "remove", &id.to_string(), "--kubeconfig", &kubeconfig]).await?;
        self.new = cluster.add().await?.number;
        let what = format!("replica {} (id {id}, {role}) by replica {}", self.lost, self.new);
        Ok(Injected { what, at, leader_lost: None })
    }

    /// The members are the remaining replicas and the new one.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.level(cluster.replicas().len(), START_PATIENCE).await
    }

    async fn heal(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        Ok(())
    }
}
