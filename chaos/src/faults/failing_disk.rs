//! A disk that says once that it could not write, or not for good. Nobody knows then what is on it: the replica has
//! to end, and may not answer what it was about to acknowledge.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::tracer::{self, Calls, Tracer};
use super::{Dice, Fault, Injected, anyone};
use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct FailingDisk {
    tracer: Option<Tracer>,
    number: usize,
    found: Violations,
}

/// Until something has failed.
const INJECTED: Duration = Duration::from_secs(15);
/// Until a replica whose disk failed has ended.
const PATIENCE: Duration = Duration::from_secs(5);

#[async_trait]
impl Fault for FailingDisk {
    fn name(&self) -> &'static str {
        "failing-disk"
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        tracer::lacks()
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let (number, role) = anyone(cluster, dice).await?;
        let at = Instant::now();
        self.number = number;
        let calls = if dice.random_bool(0.5) { Calls::Syncs } else { Calls::LogWrites };
        self.tracer = Some(Tracer::attach(cluster, number, calls, "error=EIO:when=3").await?);
        Ok(Injected { what: format!("one of replica {number} ({role}), {calls:?}, fails"), at, leader_lost: None })
    }

    /// It failed, and the replica ends.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let bites = |fault: &Self| fault.tracer.as_ref().is_some_and(|tracer| tracer.count("INJECTED") > 0);
        let deadline = Instant::now() + INJECTED;
        while !bites(self) {
            if Instant::now() > deadline {
                return Err("nothing failed".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (replica, deadline) = (cluster.replica(self.number), Instant::now() + PATIENCE);
        while replica.ended_by_itself().await?.is_none() {
            if Instant::now() > deadline {
                self.found.push(format!("replica {} goes on after its disk failed", self.number));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.kill(self.number).await?;
        if let Some(tracer) = self.tracer.take() {
            tracer.detach().await?;
        }
        cluster.restart(self.number, Vec::new()).await
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }
}
