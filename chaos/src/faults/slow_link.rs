//! Links with a long way: every byte between replicas is late, through a proxy on each link.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::detour::{Detour, round_trips};
use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::Cluster;
use crate::proxy::Weather;

#[derive(Default)]
pub(super) struct SlowLink {
    detour: Detour,
    delay: Duration,
}

/// Until replicas have connected again.
const CONNECTED: Duration = Duration::from_secs(2);

#[async_trait]
impl Fault for SlowLink {
    fn name(&self) -> &'static str {
        "slow-link"
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(7)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.delay = Duration::from_millis(dice.random_range(10..60));
        let weather = Weather { delay: self.delay, jitter: self.delay / 2, ..Weather::default() };
        let at = Instant::now();
        self.detour.set(cluster, dice, move |_, _| weather).await?;
        let what = format!("{} ms one way, up to half more", self.delay.as_millis());
        Ok(Injected { what, at, leader_lost: None })
    }

    /// The way there and back takes as long as it should, and replicas use it.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let replicas = cluster.replicas();
        let took = round_trips(&replicas[0].space, &replicas[1].space, 1).await?;
        if took.iter().any(|took| *took < self.delay * 2) {
            return Err(format!("there and back takes {took:?}, it should be {:?}", self.delay * 2).into());
        }
        tokio::time::sleep(CONNECTED).await;
        match replicas.len() - self.detour.speaking() {
            0 => Ok(()),
            some => Err(format!("{some} replicas do not speak through the proxy").into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        self.detour.lift(cluster).await
    }
}
