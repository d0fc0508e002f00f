//! A voter that loses its disk and comes back under its old name. It forgot what it promised, so it must not have
//! a voice: it refuses to start, until its data are put back.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, follower};
use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct Wipe {
    number: usize,
    found: Violations,
}

/// Until it has refused, or has begun to serve.
const PATIENCE: Duration = Duration::from_secs(20);

fn store(cluster: &Cluster, number: usize) -> (PathBuf, PathBuf) {
    let data = cluster.replica(number).disk.data();
    (data.join("store"), data.join("store.away"))
}

#[async_trait]
impl Fault for Wipe {
    fn name(&self) -> &'static str {
        "wipe-member"
    }

    fn hold(&self) -> Duration {
        Duration::ZERO
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.number = follower(cluster, dice).await?;
        let at = Instant::now();
        cluster.kill(self.number).await?;
        let (store, away) = store(cluster, self.number);
        std::fs::rename(store, away)?;
        cluster.restart(self.number, Vec::new()).await?;
        Ok(Injected { what: format!("the store of replica {}", self.number), at, leader_lost: None })
    }

    /// It is without its store, and ends.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let (replica, deadline) = (cluster.replica(self.number), Instant::now() + PATIENCE);
        while replica.ended_by_itself().await?.is_none() {
            if replica.is_ready().await || Instant::now() > deadline {
                self.found.push(format!("replica {} goes on without what it had promised", self.number));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match store(cluster, self.number).1.is_dir() {
            true => Ok(()),
            false => Err("its store was not taken away".into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        if cluster.replica(self.number).is_running().await {
            cluster.kill(self.number).await?;
        }
        let (store, away) = store(cluster, self.number);
        if away.is_dir() {
            // Whatever was begun in its place.
            if store.exists() {
                std::fs::remove_dir_all(&store)?;
            }
            std::fs::rename(away, store)?;
        }
        cluster.restart(self.number, Vec::new()).await
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }
}
