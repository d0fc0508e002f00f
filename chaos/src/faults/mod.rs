//! What is done to a cluster. One fault, one file; each proves that it bites before anything counts.

mod behind;
mod clock;
mod cut_clients;
mod dead_disk;
mod detour;
mod failing_disk;
mod full_disk;
mod kill;
mod kill_at_sync;
mod lossy_link;
mod partition;
mod pause;
mod regions;
mod replace;
mod restart;
mod slow_disk;
mod slow_link;
mod torn_link;
mod tracer;
mod transfer;
mod wipe;

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

    /// With fewer it would be another fault.
    fn least_replicas(&self) -> usize {
        1
    }

    /// Replicas that are not as old as the cluster are in it afterwards.
    fn leaves_others(&self) -> bool {
        false
    }

    /// Strikes in one round, when so many are wanted; the first time, every fault has to get its turn.
    fn strikes(&self, wanted: usize, first: bool) -> usize {
        if first { 1 } else { wanted }
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

    /// What it measured, for people.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Every fault there is. The order is that of the table.
pub fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = Vec::new();
    all.extend([kill::Whom::Leader, kill::Whom::Follower, kill::Whom::All].map(|whom| boxed(kill::Kill::new(whom))));
    all.push(boxed(kill_at_sync::KillAtSync::default()));
    let whom = [pause::Whom::Leader, pause::Whom::Follower, pause::Whom::Majority];
    all.extend(whom.map(|whom| boxed(pause::Pause::new(whom))));
    all.extend(partition::SHAPES.map(|shape| boxed(partition::Partition::new(shape))));
    all.push(boxed(cut_clients::CutClients::default()));
    all.push(boxed(lossy_link::LossyLink::default()));
    all.push(boxed(slow_link::SlowLink::default()));
    all.push(boxed(torn_link::TornLink::default()));
    all.push(boxed(regions::Regions::default()));
    all.push(boxed(slow_disk::SlowDisk::default()));
    all.push(boxed(failing_disk::FailingDisk::default()));
    all.push(boxed(dead_disk::DeadDisk::default()));
    let degrees = [full_disk::Degree::Short, full_disk::Degree::Full];
    all.extend(degrees.map(|degree| boxed(full_disk::FullDisk::new(degree))));
    let manners = [clock::Manner::Jump, clock::Manner::Strobe, clock::Manner::Drift];
    all.extend(manners.map(|manner| boxed(clock::Clock::new(manner))));
    all.push(boxed(restart::RollingRestart::default()));
    all.push(boxed(transfer::Transfer::default()));
    all.push(boxed(behind::Behind::default()));
    all.push(boxed(wipe::Wipe::default()));
    all.push(boxed(replace::Replace::default()));
    all
}

fn boxed(fault: impl Fault + 'static) -> Box<dyn Fault> {
    Box::new(fault)
}

/// Of all faults, whether this one sets clocks back.
pub fn turns_clocks(name: &str) -> bool {
    name.starts_with("clock-")
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
