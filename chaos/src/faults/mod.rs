//! What is done to a cluster. One fault, one file; each proves that it bites before anything counts.

pub mod clock;
mod failing_disk;
mod full_disk;
mod kill;
mod lossy_link;
mod partition;
mod pause;
mod replace;
mod restart;
mod slow_disk;
mod slow_link;
mod tracer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::{Cluster, Replica};

/// All random choices of a run come from one seed.
pub type Dice = StdRng;

/// What was done.
pub struct Injected {
    /// For people: to whom, how much.
    pub what: String,
    /// When it struck.
    pub at: Instant,
    /// The leader was killed or cut off: how long until another leads is measured.
    pub leader_lost: Option<usize>,
}

#[async_trait]
pub trait Fault: Send + Sync {
    fn name(&self) -> &'static str;

    /// What this machine or this product lacks for it.
    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        None
    }

    /// How long it stays.
    fn hold(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure>;

    /// The positive control: fails when the fault does not bite.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure>;

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure>;

    /// What the fault itself found wrong, after it was healed.
    fn found(&mut self) -> Violations {
        Violations::new()
    }
}

/// Every fault there is. The order is that of the table.
pub fn all() -> Vec<Box<dyn Fault>> {
    use full_disk::{Degree, FullDisk};
    use kill::Kill;
    use partition::{Partition, Shape};
    use pause::Pause;
    vec![
        Box::new(Kill::new(kill::Whom::Leader)),
        Box::new(Kill::new(kill::Whom::Follower)),
        Box::new(Kill::new(kill::Whom::All)),
        Box::new(Pause::new(pause::Whom::Leader)),
        Box::new(Pause::new(pause::Whom::Majority)),
        Box::new(Partition::new(Shape::LeaderAlone)),
        Box::new(Partition::new(Shape::FollowerAlone)),
        Box::new(Partition::new(Shape::LeaderDeaf)),
        Box::new(Partition::new(Shape::LeaderMute)),
        Box::new(Partition::new(Shape::Bridge)),
        Box::new(Partition::new(Shape::Shattered)),
        Box::new(lossy_link::LossyLink::default()),
        Box::new(slow_link::SlowLink::default()),
        Box::new(slow_disk::SlowDisk::default()),
        Box::new(failing_disk::FailingDisk::default()),
        Box::new(FullDisk::new(Degree::Short)),
        Box::new(FullDisk::new(Degree::Full)),
        Box::new(clock::Clock::default()),
        Box::new(restart::RollingRestart::default()),
        Box::new(replace::Replace::default()),
    ]
}

/// A replica that does not lead.
async fn follower(cluster: &Cluster, dice: &mut Dice) -> Result<usize, Failure> {
    let leader = cluster.leader().await?;
    let others: Vec<usize> =
        cluster.replicas().iter().map(|replica| replica.number).filter(|number| *number != leader).collect();
    Ok(*others.choose(dice).ok_or("there is no follower")?)
}

/// The leader every other time, a follower otherwise: for faults that bite both, differently.
async fn anyone(cluster: &Cluster, dice: &mut Dice) -> Result<(usize, &'static str), Failure> {
    match rand::Rng::random_bool(dice, 0.5) {
        true => Ok((cluster.leader().await?, "leader")),
        false => Ok((follower(cluster, dice).await?, "follower")),
    }
}

/// All ways from one replica to another.
fn links(replicas: &[Arc<Replica>]) -> Vec<(Arc<Replica>, Arc<Replica>)> {
    let mut links = Vec::new();
    for from in replicas {
        let others = replicas.iter().filter(|to| to.number != from.number);
        links.extend(others.map(|to| (from.clone(), to.clone())));
    }
    links
}

fn say(numbers: &[usize]) -> String {
    numbers.iter().map(|number| format!("replica {number}")).collect::<Vec<_>>().join(", ")
}
