//! Links that lose a part of all packets, each way.

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, links};
use crate::Failure;
use crate::cluster::{Cluster, probe};

#[derive(Default)]
pub(super) struct LossyLink {
    loss: f64,
}

/// Datagrams of the control.
const SAMPLE: usize = 200;
/// How far the measured loss may be from the wanted one: about four deviations of that many datagrams.
const TOLERANCE: f64 = 0.14;

#[async_trait]
impl Fault for LossyLink {
    fn name(&self) -> &'static str {
        "lossy-link"
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.loss = *rand::seq::IndexedRandom::choose(&[0.05, 0.2, 0.4][..], dice).unwrap_or(&0.2);
        self.loss += dice.random_range(0.0..0.05);
        let replicas = cluster.replicas();
        let at = Instant::now();
        for (from, to) in links(&replicas) {
            let (ip, loss) = (from.space.ip, self.loss);
            let rule = format!("-s {ip} -m statistic --mode random --probability {loss:.3} -j DROP");
            to.space.rule("filter", "INPUT", &rule).await?;
        }
        Ok(Injected { what: format!("{:.0} % lost on all links", self.loss * 100.0), at, leader_lost: None })
    }

    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let replicas = cluster.replicas();
        let arriving = probe::arriving(&replicas[0].space, &replicas[1].space, SAMPLE).await?;
        let lost = 1.0 - arriving as f64 / SAMPLE as f64;
        match (lost - self.loss).abs() < TOLERANCE {
            true => Ok(()),
            false => Err(format!("{lost:.2} of the datagrams are lost, it should be {:.2}", self.loss).into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for replica in cluster.replicas() {
            replica.space.no_rules().await?;
        }
        Ok(())
    }
}
