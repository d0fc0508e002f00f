//! Clients that do not reach the leader, which its peers reach all the time. There is no reason for another leader;
//! who asks the others is served.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::{Cluster, fabric, probe};

#[derive(Default)]
pub(super) struct CutClients {
    number: usize,
}

/// Until a connection that was not cut off is there.
const PATIENCE: Duration = Duration::from_millis(700);

#[async_trait]
impl Fault for CutClients {
    fn name(&self) -> &'static str {
        "cut-clients"
    }

    async fn inject(&mut self, cluster: &Cluster, _dice: &mut Dice) -> Result<Injected, Failure> {
        self.number = cluster.leader().await?;
        let rule = format!("-s {} -j DROP", fabric::CLIENTS);
        let at = Instant::now();
        cluster.replica(self.number).space.rule("filter", "INPUT", &rule).await?;
        Ok(Injected { what: format!("from replica {} (leader)", self.number), at, leader_lost: None })
    }

    /// Clients do not get there, all peers do.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let leader = cluster.replica(self.number);
        let address = SocketAddr::from((leader.space.ip, 6443));
        let connected = tokio::task::spawn_blocking(move || TcpStream::connect_timeout(&address, PATIENCE)).await?;
        if connected.is_ok() {
            return Err(format!("clients still reach replica {}", self.number).into());
        }
        for peer in cluster.replicas().into_iter().filter(|peer| peer.number != self.number) {
            if probe::arriving(&peer.space, &leader.space, 3).await? == 0 {
                return Err(format!("replica {} does not reach it either", peer.number).into());
            }
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        cluster.replica(self.number).space.no_rules().await
    }
}
