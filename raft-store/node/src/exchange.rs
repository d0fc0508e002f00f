//! What members tell each other every other second: whether their states are equal, and whether disks fill up.
//!
//! Replicas that applied the same entries must have the same state. One that differs from most has applied
//! something wrongly or keeps it on a bad disk: it must not be read, nor lead, nor hand out snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki_proto::raft::{ExchangeRequest, ExchangeResponse};
use store_api::{NodeId, Revision};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::blocking::blocking;
use crate::peer::Peer;
use crate::replica::Replica;

/// Between exchanges.
const TICK: Duration = Duration::from_secs(2);
/// Until a peer must have answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// This replica's state after one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checkpoint {
    index: u64,
    revision: Revision,
    hash: u64,
}

/// What was last heard of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether its state is this replica's; `None` when it could not tell.
    same: Option<bool>,
    pub(crate) short_of_space: bool,
}

/// What all that was heard means for this replica's state.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    /// Some differ, and it cannot be told who is right, or it is not this one.
    Doubtful,
    /// Most differ.
    Diverged,
}

fn judge(said: &BTreeMap<NodeId, Said>) -> Verdict {
    let count = |same| said.values().filter(|said| said.same == Some(same)).count();
    match (count(true) + 1, count(false)) {
        (_, 0) => Verdict::Sound,
        (same, different) if different > same => Verdict::Diverged,
        _ => Verdict::Doubtful,
    }
}

/// Runs until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        tick.tick().await;
        // The state of the last time, because the others may be a little behind.
        let said = ask_all(&replica, before).await;
        before = replica.checkpoint();
        let verdict = judge(&said);
        *replica.said.lock() = said;
        match verdict {
            Verdict::Sound => {}
            Verdict::Doubtful => {
                tracing::error!("the states of replicas differ, and it cannot be told here which one is wrong");
            }
            Verdict::Diverged => fence_off(&replica).await,
        }
    }
}

async fn ask_all(replica: &Replica, mine: Option<Checkpoint>) -> BTreeMap<NodeId, Said> {
    let membership = replica.membership();
    let others = membership.nodes().map(|(id, _)| *id).filter(|id| *id != replica.id());
    let peers = others.filter_map(|id| replica.peer(id));
    let asked = peers.map(|peer| async move { Some((peer.id, ask(&peer, mine).await?)) });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn ask(peer: &Peer, mine: Option<Checkpoint>) -> Option<Said> {
    let request = ExchangeRequest { index: mine.map_or(0, |mine| mine.index) };
    let mut client = peer.control();
    let answer = timeout(ANSWER_TIMEOUT, client.exchange(request)).await;
    let said = answer.ok()?.ok().map(|answer| understand(mine, answer.into_inner()));
    let result = match said.and_then(|said| said.same) {
        Some(true) => "same",
        Some(false) => "different",
        None => "unanswered",
    };
    metrics::counter!("kontiki_store_state_comparisons_total", "result" => result).increment(1);
    said
}

fn understand(mine: Option<Checkpoint>, answer: ExchangeResponse) -> Said {
    let same = mine.zip(answer.state).map(|(mine, its)| (mine.revision, mine.hash) == (its.revision, its.hash));
    Said { same, short_of_space: answer.short_of_space }
}

async fn fence_off(replica: &Replica) {
    if replica.diverged.swap(true, Ordering::AcqRel) {
        return;
    }
    tracing::error!("the state of this replica differs from that of most others: it serves no more. Replace it");
    replica.raft.runtime_config().elect(false);
    replica.effects.hub.close();
    replica.hand_over().await;
}

impl Replica {
    fn checkpoint(&self) -> Option<Checkpoint> {
        let index = self.effects.applied.index();
        let (revision, hash) = blocking(|| self.effects.engine.state_at(index))?;
        Some(Checkpoint { index, revision, hash })
    }
}

#[cfg(test)]
impl Said {
    pub(crate) fn about_space(short_of_space: bool) -> Self {
        Self { same: None, short_of_space }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_proto::raft::exchange_response::State;

    use super::*;

    #[test]
    fn the_one_that_differs_from_most_has_diverged() {
        let verdict = |same: &[Option<bool>]| {
            let said = |same: &Option<bool>| Said { same: *same, short_of_space: false };
            judge(&(1..).zip(same.iter().map(said)).collect())
        };
        let (same, different) = (Some(true), Some(false));
        assert_eq!(verdict(&[]), Verdict::Sound);
        assert_eq!(verdict(&[same, None]), Verdict::Sound);
        assert_eq!(verdict(&[same, different]), Verdict::Doubtful);
        assert_eq!(verdict(&[different, None]), Verdict::Doubtful, "one against one");
        assert_eq!(verdict(&[different, different]), Verdict::Diverged);
        assert_eq!(verdict(&[different, different, same]), Verdict::Doubtful);
        assert_eq!(verdict(&[different, different, same, different]), Verdict::Diverged);
    }

    #[test]
    fn states_are_compared_after_the_same_entry_only() {
        let mine = Some(Checkpoint { index: 7, revision: 3, hash: 9 });
        let same = |mine, state: Option<(u64, u64)>| {
            let state = state.map(|(revision, hash)| State { revision, hash });
            understand(mine, ExchangeResponse { state, short_of_space: false }).same
        };
        assert_eq!(same(mine, Some((3, 9))), Some(true));
        assert_eq!(same(mine, Some((3, 8))), Some(false));
        assert_eq!(same(mine, Some((4, 9))), Some(false));
        assert_eq!((same(mine, None), same(None, Some((3, 9)))), (None, None));
    }
}
