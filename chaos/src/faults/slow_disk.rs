//! A disk that takes long to write for good: every fsync is late. On one replica, or on all.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::tracer::{self, Calls, Tracer};
use super::{Dice, Fault, Injected, anyone, say};
use crate::Failure;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct SlowDisk {
    tracers: Vec<Tracer>,
}

#[async_trait]
impl Fault for SlowDisk {
    fn name(&self) -> &'static str {
        "slow-disk"
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        tracer::lacks()
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(6)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let slow = match dice.random_bool(0.3) {
            true => cluster.replicas().iter().map(|replica| replica.number).collect(),
            false => vec![anyone(cluster, dice).await?.0],
        };
        let delay = Duration::from_millis(dice.random_range(20..300));
        let at = Instant::now();
        for number in &slow {
            let tamper = format!("delay_enter={}", delay.as_micros());
            self.tracers.push(Tracer::attach(cluster, *number, Calls::Syncs, &tamper).await?);
        }
        let what = format!("{}: {} ms more for every fsync", say(&slow), delay.as_millis());
        Ok(Injected { what, at, leader_lost: None })
    }

    async fn control(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        match self.tracers.iter().all(|tracer| tracer.count("DELAYED") > 0) {
            true => Ok(()),
            false => Err("no fsync was late".into()),
        }
    }

    async fn heal(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        for tracer in self.tracers.drain(..) {
            tracer.detach().await?;
        }
        Ok(())
    }
}
