//! What replicas say of their logs, once a second.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::stage::Stage;
use crate::checkers::growth::{Count, Counts};
use crate::cluster::Replica;

/// Revisions are told as often.
const EVERY: Duration = Duration::from_secs(1);
/// One that does not answer by then is asked again later.
const PATIENCE: Duration = Duration::from_millis(900);

pub async fn run(stage: Stage, replicas: Vec<Arc<Replica>>) -> Vec<Counts> {
    join_all(replicas.iter().map(|replica| follow(&stage, replica))).await
}

/// Until the round ends, and once more then.
async fn follow(stage: &Stage, replica: &Replica) -> Counts {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counts = Counts { replica: replica.number, counts: Vec::new() };
    loop {
        let over = stage.stop.run_until_cancelled(tick.tick()).await.is_none();
        counts.counts.extend(look(stage, replica).await);
        if over {
            return counts;
        }
    }
}

/// Nothing when it does not answer, or ended meanwhile.
async fn look(stage: &Stage, replica: &Replica) -> Option<Count> {
    let process = replica.pid().await.ok()?;
    let text = replica.metrics(PATIENCE).await.ok()?;
    let count = Count::parse(stage.now(), process, &text)?;
    replica.pid().await.is_ok_and(|now| now == process).then_some(count)
}
