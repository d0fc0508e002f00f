//! A rolling restart: every replica is asked to end and started again, one after the other, as for an upgrade.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::{Cluster, START_PATIENCE};

#[derive(Default)]
pub(super) struct RollingRestart {
    before: Vec<i32>,
}

async fn pids(cluster: &Cluster) -> Result<Vec<i32>, Failure> {
    let mut pids = Vec::new();
    for replica in cluster.replicas() {
        pids.push(replica.pid().await?);
    }
    Ok(pids)
}

#[async_trait]
impl Fault for RollingRestart {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn hold(&self) -> Duration {
        Duration::ZERO
    }

    async fn inject(&mut self, cluster: &Cluster, _dice: &mut Dice) -> Result<Injected, Failure> {
        self.before = pids(cluster).await?;
        let at = Instant::now();
        for replica in cluster.replicas() {
            cluster.stop(replica.number).await?;
            cluster.restart(replica.number, Vec::new()).await?;
            cluster.level(cluster.replicas().len(), START_PATIENCE).await?;
        }
        Ok(Injected { what: "all, one after the other".to_owned(), at, leader_lost: None })
    }

    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let after = pids(cluster).await?;
        match self.before.iter().any(|before| after.contains(before)) {
            false => Ok(()),
            true => Err("a replica is the process that it was before".into()),
        }
    }

    async fn heal(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        Ok(())
    }
}
