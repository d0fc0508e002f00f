//! A disk that takes nothing any more, at once and for everything: its file system gave up. The replica has to end;
//! when the disk was repaired it goes on with what was on it for good.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, anyone};
use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct DeadDisk {
    number: usize,
    found: Violations,
}

/// Until a replica without a disk has ended: the next write is soon.
const PATIENCE: Duration = Duration::from_secs(10);

#[async_trait]
impl Fault for DeadDisk {
    fn name(&self) -> &'static str {
        "dead-disk"
    }

    async fn lacks(&self, cluster: &Cluster) -> Option<String> {
        cluster.replicas().iter().find_map(|replica| replica.disk.plain.clone())
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let (number, role) = anyone(cluster, dice).await?;
        self.number = number;
        let at = Instant::now();
        cluster.replica(number).disk.die().await?;
        Ok(Injected { what: format!("replica {number} ({role})"), at, leader_lost: None })
    }

    /// Nothing can be written there, and the replica ends.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let (replica, deadline) = (cluster.replica(self.number), Instant::now() + PATIENCE);
        if !replica.disk.is_dead() {
            return Err("something can still be written".into());
        }
        while replica.ended_by_itself().await?.is_none() {
            if Instant::now() > deadline {
                self.found.push(format!("replica {} goes on without a disk", self.number));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.kill(self.number).await?;
        cluster.replica(self.number).disk.repair().await?;
        cluster.restart(self.number, Vec::new()).await
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }
}
