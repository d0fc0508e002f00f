//! Leadership that is handed over again and again, as before maintenance, in order and under load.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, follower};
use crate::Failure;
use crate::cluster::Cluster;

#[derive(Default)]
pub(super) struct Transfer {
    heirs: Vec<(usize, bool)>,
}

const TIMES: usize = 4;
const PAUSE: Duration = Duration::from_millis(700);

#[async_trait]
impl Fault for Transfer {
    fn name(&self) -> &'static str {
        "move-leader"
    }

    async fn lacks(&self, cluster: &Cluster) -> Option<String> {
        let offered = cluster.kontiki(&["member", "move-leader", "--help"]).await;
        offered.err().map(|_| "this kontiki has no `member move-leader`".to_owned())
    }

    fn hold(&self) -> Duration {
        Duration::ZERO
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.heirs.clear();
        let at = Instant::now();
        for _ in 0..TIMES {
            let heir = cluster.replica(follower(cluster, dice).await?);
            let (id, kubeconfig) = (heir.status().await?.id.to_string(), heir.kubeconfig().display().to_string());
            cluster.kontiki(&["member", "move-leader", &id, "--kubeconfig", &kubeconfig]).await?;
            self.heirs.push((heir.number, cluster.leader().await? == heir.number));
            tokio::time::sleep(PAUSE).await;
        }
        let names: Vec<String> = self.heirs.iter().map(|(number, _)| number.to_string()).collect();
        Ok(Injected { what: format!("to replica {} in turn", names.join(", ")), at, leader_lost: None })
    }

    /// It led after that, most times: another may be elected at any moment.
    async fn control(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        let led = self.heirs.iter().filter(|(_, led)| *led).count();
        match led * 2 > TIMES {
            true => Ok(()),
            false => Err(format!("only {led} of {TIMES} led after it was handed over to them").into()),
        }
    }

    async fn heal(&mut self, _cluster: &Cluster) -> Result<(), Failure> {
        Ok(())
    }
}
