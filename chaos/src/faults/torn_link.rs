//! Links that lose, alter and hold up what they carry, or end or fall silent in the middle of it, through a proxy
//! on each link. Whatever arrives has to be what was sent, or has to be refused.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::detour::Detour;
use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::Cluster;
use crate::proxy::Weather;

#[derive(Default)]
pub(super) struct TornLink {
    detour: Detour,
}

/// Pieces that have to come to harm, and until when.
const ENOUGH: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(15);

#[async_trait]
impl Fault for TornLink {
    fn name(&self) -> &'static str {
        "torn-link"
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(7)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let weather = Weather { harm: dice.random_range(0.005..0.03), ..Weather::default() };
        let at = Instant::now();
        self.detour.set(cluster, dice, move |_, _| weather).await?;
        let what = format!("{:.1} % of what is sent on all links comes to harm", weather.harm * 100.0);
        Ok(Injected { what, at, leader_lost: None })
    }

    async fn control(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.detour.harmed() < ENOUGH {
            if Instant::now() > deadline {
                return Err(format!("only {} pieces came to harm", self.detour.harmed()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        self.detour.lift(cluster).await
    }
}
