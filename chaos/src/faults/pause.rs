//! SIGSTOP: a replica that does nothing for a while and then goes on as if nothing had been, with all its
//! connections open. A leader that was replaced meanwhile must not answer a read from what it remembers.

use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use rand::Rng;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, follower, say};
use crate::Failure;
use crate::cluster::Cluster;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Leader,
    Follower,
    /// The leader and so many others that no quorum is left.
    Majority,
}

pub(super) struct Pause {
    whom: Whom,
    stopped: Vec<usize>,
    hold: Duration,
}

impl Pause {
    pub(super) fn new(whom: Whom) -> Self {
        Self { whom, stopped: Vec::new(), hold: Duration::ZERO }
    }
}

/// A process that waits for its disk stops when that is over.
const NOTICED: Duration = Duration::from_secs(3);

#[async_trait]
impl Fault for Pause {
    fn name(&self) -> &'static str {
        match self.whom {
            Whom::Leader => "pause-leader",
            Whom::Follower => "pause-follower",
            Whom::Majority => "pause-majority",
        }
    }

    fn hold(&self) -> Duration {
        self.hold
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.stopped = match self.whom {
            Whom::Leader | Whom::Majority => vec![cluster.leader().await?],
            Whom::Follower => vec![follower(cluster, dice).await?],
        };
        let quorum = cluster.replicas().len() / 2 + 1;
        while self.whom == Whom::Majority && self.stopped.len() < quorum {
            let other = follower(cluster, dice).await?;
            if !self.stopped.contains(&other) {
                self.stopped.push(other);
            }
        }
        // Shorter than an election, and much longer.
        self.hold =
            Duration::from_millis(*rand::seq::IndexedRandom::choose(&[400, 1_500, 6_000][..], dice).unwrap_or(&1_500));
        self.hold += Duration::from_millis(dice.random_range(0..400));
        let at = Instant::now();
        for number in &self.stopped {
            cluster.replica(*number).signal(Signal::SIGSTOP).await?;
        }
        let what = format!("{} for {:.1} s", say(&self.stopped), self.hold.as_secs_f64());
        Ok(Injected { what, at, leader_lost: None })
    }

    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for number in &self.stopped {
            let deadline = Instant::now() + NOTICED;
            // The signal is there when the process is next looked at, on a busy machine a little later.
            while cluster.replica(*number).state().await? != 'T' {
                if Instant::now() > deadline {
                    return Err(format!("replica {number} was stopped and goes on").into());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for number in std::mem::take(&mut self.stopped) {
            cluster.replica(number).signal(Signal::SIGCONT).await?;
        }
        Ok(())
    }
}
