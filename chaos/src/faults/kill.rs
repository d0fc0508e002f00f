//! kill -9: of the leader, of a follower, of all at once. What was not fsynced is still there afterwards (the
//! machine goes on), what was only in the process is not.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, follower, say};
use crate::Failure;
use crate::cluster::Cluster;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Leader,
    Follower,
    All,
}

pub(super) struct Kill {
    whom: Whom,
    killed: Vec<usize>,
}

impl Kill {
    pub(super) fn new(whom: Whom) -> Self {
        Self { whom, killed: Vec::new() }
    }

    async fn victims(&self, cluster: &Cluster, dice: &mut Dice) -> Result<Vec<usize>, Failure> {
        Ok(match self.whom {
            Whom::Leader => vec![cluster.leader().await?],
            Whom::Follower => vec![follower(cluster, dice).await?],
            Whom::All => cluster.replicas().iter().map(|replica| replica.number).collect(),
        })
    }
}

#[async_trait]
impl Fault for Kill {
    fn name(&self) -> &'static str {
        match self.whom {
            Whom::Leader => "kill-leader",
            Whom::Follower => "kill-follower",
            Whom::All => "kill-all",
        }
    }

    /// How long it takes until another leads is what people ask first.
    fn strikes(&self, wanted: usize, first: bool) -> usize {
        if first && self.whom != Whom::Leader { 1 } else { wanted }
    }

    fn hold(&self) -> Duration {
        match self.whom {
            Whom::Leader => Duration::from_secs(4),
            Whom::Follower => Duration::from_secs(2),
            Whom::All => Duration::from_millis(200),
        }
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.killed = self.victims(cluster, dice).await?;
        let at = Instant::now();
        let kills = self.killed.iter().map(|number| cluster.kill(*number));
        futures::future::try_join_all(kills).await?;
        let leader_lost = (self.whom == Whom::Leader).then(|| self.killed[0]);
        Ok(Injected { what: say(&self.killed), at, leader_lost })
    }

    /// Nobody listens any more.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for number in &self.killed {
            let address = SocketAddr::from((cluster.replica(*number).space.ip, 6443));
            let answer = tokio::task::spawn_blocking(move || TcpStream::connect_timeout(&address, PATIENCE)).await?;
            match answer {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                other => return Err(format!("replica {number} was killed, its port answers {other:?}").into()),
            }
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for number in std::mem::take(&mut self.killed) {
            cluster.restart(number, Vec::new()).await?;
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_millis(500);
