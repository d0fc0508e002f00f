//! One strike of a fault: inject, prove that it bites, hold, heal, wait until all is well again.

use std::time::Duration;

use tokio::time::Instant;

use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::{Cluster, Replica};
use crate::faults::{Dice, Fault, Injected};
use crate::workloads::stage::Stage;

/// From the end of a fault until all replicas follow one leader and are level.
const RECOVERY: Duration = Duration::from_secs(60);
/// Until another leads.
const ELECTION: Duration = Duration::from_secs(30);
/// Between two looks for a new leader, and how long one may take.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_PATIENCE: Duration = Duration::from_millis(250);

/// All times since the start of the round, unless they are lengths.
pub struct Strike {
    pub what: String,
    pub at: Duration,
    pub over: Duration,
    /// What the positive control says when the fault does not bite.
    pub toothless: Option<String>,
    /// Terms that began from before it until all was well again; tries to be elected count as well.
    pub elections: u64,
    pub leader_lost: bool,
    pub new_leader: Option<Duration>,
    pub first_write: Option<Duration>,
    pub unavailable: Duration,
    /// From the end of the fault.
    pub recovered: Duration,
    /// What the fault measured.
    pub notes: Vec<String>,
}

pub(crate) async fn once(
    cluster: &Cluster,
    fault: &mut dyn Fault,
    stage: &Stage,
    dice: &mut Dice,
) -> Result<(Strike, Violations), Failure> {
    let term = cluster.term().await;
    let injected = match fault.inject(cluster, dice).await {
        Ok(injected) => injected,
        Err(error) => {
            // Half a fault must not stay. What was injected first counts, not what this says.
            let _ = fault.heal(cluster).await;
            return Err(format!("{} cannot be injected: {error}", fault.name()).into());
        }
    };
    let held = injected.at + fault.hold();
    let (toothless, new_leader) = tokio::join!(fault.control(cluster), new_leader(cluster, &injected));
    tokio::time::sleep_until(held).await;
    fault.heal(cluster).await?;
    let (healed, mut found) = (Instant::now(), Violations::new());
    found.extend(cluster.revive().await?);
    if let Err(why) = cluster.level(cluster.replicas().len(), RECOVERY).await {
        found.push(format!("did not recover: {why}"));
        // Whoever ended while it was waited for.
        found.extend(cluster.revive().await?);
    }
    found.extend(fault.found());
    let (at, over) = (stage.now().saturating_sub(injected.at.elapsed()), stage.now());
    let recovered = healed.elapsed();
    let strike = Strike {
        what: injected.what,
        at,
        over,
        toothless: toothless.err().map(|error| error.to_string()),
        elections: cluster.term().await.saturating_sub(term),
        leader_lost: injected.leader_lost.is_some(),
        new_leader,
        first_write: None,
        unavailable: Duration::ZERO,
        recovered,
        notes: fault.notes(),
    };
    let found = found.into_iter().map(|why| format!("{} ({}): {why}", fault.name(), strike.what)).collect();
    Ok((strike, found))
}

/// How long it took until another one led.
async fn new_leader(cluster: &Cluster, injected: &Injected) -> Option<Duration> {
    let lost = injected.leader_lost?;
    let others: Vec<_> = cluster.replicas().into_iter().filter(|replica| replica.number != lost).collect();
    while injected.at.elapsed() < ELECTION {
        let asked = others.iter().map(|replica| leads(replica));
        if futures::future::join_all(asked).await.contains(&true) {
            return Some(injected.at.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}

async fn leads(replica: &Replica) -> bool {
    let status = tokio::time::timeout(LOOK_PATIENCE, replica.status()).await;
    status.is_ok_and(|status| status.is_ok_and(|status| status.leads))
}
