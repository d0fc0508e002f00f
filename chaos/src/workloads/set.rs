//! Creates objects under names never used before, through all replicas.

use std::time::Duration;

use super::session::Session;
use super::stage::Stage;
use crate::history::{Op, Outcome};

pub const WORKLOAD: &str = "set";
/// After an answer that says nothing was done, or none at all.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs `writers` writers until stopped; each begins a write at most every `pace`, and goes to the next replica
/// after a failure.
pub async fn run(stage: Stage, writers: usize, pace: Duration) -> Vec<Op> {
    let tasks: Vec<_> =
        (0..writers).map(|number| tokio::spawn(writer(Session::new(&stage, WORKLOAD, number, false), pace))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a writer does not panic"));
    }
    all
}

async fn writer(mut session: Session, pace: Duration) -> Vec<Op> {
    let stop = session.stage.stop.clone();
    let mut turn = tokio::time::interval(pace);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(turn.tick()).await.is_some() {
        let value = session.value();
        let name = format!("{}-{value}", session.stage.round);
        if !matches!(session.create(&name, value).await, Outcome::Written(_)) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    session.ops
}
