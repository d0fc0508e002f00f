//! A disk that says once that it could not write for good. Nobody knows then what is on it: the replica has to
//! end, and may not answer what it was about to acknowledge.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::tracer::{self, Tracer};
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

/// Until a replica with a failed fsync has ended.
const PATIENCE: Duration = Duration::from_secs(3);

#[async_trait]
impl Fault for FailingDisk {
    fn name(&self) -> &'static str {
        "failing-disk"
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        tracer::lacks()
    }

    fn hold(&self) -> Duration {
        PATIENCE
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let (number, role) = anyone(cluster, dice).await?;
        let at = Instant::now();
        self.number = number;
        self.tracer = Some(Tracer::attach(cluster, number, "error=EIO:when=3").await?);
        Ok(Injected { what: format!("one fsync of replica {number} ({role}) fails"), at, leader_lost: None })
    }

    async fn control(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let bites = |fault: &Self| fault.tracer.as_ref().is_some_and(|tracer| tracer.count("INJECTED") > 0);
        while !bites(self) {
            if Instant::now() > deadline {
                return Err("no fsync failed".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let replica = cluster.replica(self.number);
        if replica.ended_by_itself().await?.is_none() {
            self.found.push(format!("replica {} goes on after a failed fsync", self.number));
            cluster.kill(self.number).await?;
        }
        if let Some(tracer) = self.tracer.take() {
            tracer.detach().await?;
        }
        cluster.restart(self.number, Vec::new()).await
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }
}
