//! A replica that is lost for good, with its disk: another joins under a new id in its place, with one command.

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

    fn leaves_others(&self) -> bool {
        true
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
        // Another has to lead first.
        cluster.leader().await?;
        self.new = cluster.replace(id).await?.number;
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
