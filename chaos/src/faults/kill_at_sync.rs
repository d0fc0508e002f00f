//! kill -9 of the leader at the moment at which it begins to write something for good, which others may have
//! already.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::tracer::{self, Calls, Tracer};
use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct KillAtSync {
    number: usize,
    how: String,
}

/// Until it has come to that.
const PATIENCE: Duration = Duration::from_secs(15);

#[async_trait]
impl Fault for KillAtSync {
    fn name(&self) -> &'static str {
        "kill-at-fsync"
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        tracer::lacks()
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.number = cluster.leader().await?;
        let nth = dice.random_range(1..30);
        let tamper = format!("signal=SIGKILL:when={nth}");
        let tracer = Tracer::attach(cluster, self.number, Calls::Syncs, &tamper).await?;
        let (replica, deadline) = (cluster.replica(self.number), Instant::now() + PATIENCE);
        self.how = loop {
            if let Some(how) = replica.ended_by_itself().await? {
                break how;
            }
            if Instant::now() > deadline {
                return Err(format!("replica {} did not get to its fsync number {nth}", self.number).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let at = Instant::now();
        tracer.detach().await?;
        let what = format!("replica {} (leader) at its fsync number {nth}", self.number);
        Ok(Injected { what, at, leader_lost: Some(self.number) })
    }

    /// A signal ended it: 137 as containers say it.
    async fn control(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        match self.how.contains("137") || self.how.contains("signal: 9") {
            true => Ok(()),
            false => Err(format!("replica {} was to be killed, it ended otherwise ({})", self.number, self.how).into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        match cluster.replica(self.number).is_running().await {
            true => Ok(()),
            false => cluster.restart(self.number, Vec::new()).await,
        }
    }
}
