//! Linearizable reads on every replica: Raft's ReadIndex, shared by all readers that wait.
//!
//! A reader may use a read index only when the round that found it began after the reader asked. So
//! whoever arrives while a round is under way waits for the next one, which begins when that is over, or soon
//! when it takes long; one round serves them all. A failed round gives its readers nothing, and each asks again
//! in a new round.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kontiki_proto::raft::ReadIndexRequest;
use kontiki_proto::raft::read_index_response::Result as Found;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use store_api::{Revision, StoreError};
use store_core::Command;
use store_engine::planted::{Bug, is_planted};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::codec;
use crate::replica::Replica;
use crate::types::LogCommand;

/// One round at most; also bounds how long an isolated leader keeps readers waiting.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// Until a linearizable read is given up.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Between a failed round and the next try of the same reader.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A round that takes longer than this does not hold up the next one.
const NEXT_AFTER: Duration = Duration::from_millis(5);
/// Rounds under way at once.
const ROUNDS: usize = 128;
/// Readers of one round.
const ROUND_READERS: usize = 16_384;

/// Gets the log index to wait for, or why there is none now.
pub(crate) type Reader = oneshot::Sender<Result<u64, String>>;

/// Which question a queue of readers asks.
#[derive(Clone, Copy)]
pub(crate) enum Question {
    /// Only this replica, as leader.
    Confirm,
    /// Whoever leads.
    Barrier,
}

/// Runs rounds until the replica stops.
pub(crate) async fn run(
    replica: Weak<Replica>,
    question: Question,
    queue: mpsc::Receiver<Reader>,
    stop: CancellationToken,
) {
    let ask = || Some(round(replica.upgrade()?, question));
    stop.run_until_cancelled(serve(queue, ask)).await;
}

/// Asks for everyone who waits. A round that takes long is not waited for: where replicas are far apart, readers
/// would wait for two.
async fn serve<F>(mut queue: mpsc::Receiver<Reader>, ask: impl Fn() -> Option<F>)
where
    F: Future<Output = Result<u64, String>> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    loop {
        let mut readers = Vec::new();
        let received = queue.recv_many(&mut readers, ROUND_READERS).await;
        let (1.., Some(round)) = (received, ask()) else { return };
        let (over, mut is_over) = oneshot::channel::<()>();
        under_way.spawn(async move {
            let found = round.await;
            metrics::counter!("kontiki_raft_read_index_rounds_total").increment(1);
            metrics::counter!("kontiki_raft_read_index_readers_total").increment(readers.len() as u64);
            readers.into_iter().for_each(|reader| drop(reader.send(found.clone())));
            drop(over);
        });
        // However it ends, the next may begin.
        let _ = timeout(NEXT_AFTER, &mut is_over).await;
        while under_way.try_join_next().is_some() {}
        while under_way.len() >= ROUNDS {
            under_way.join_next().await;
        }
    }
}

async fn round(replica: Arc<Replica>, question: Question) -> Result<u64, String> {
    let round = async {
        match question {
            Question::Confirm => replica.confirm_leadership().await,
            Question::Barrier => replica.ask_leader().await,
        }
    };
    let (leader, mut leadership) = (replica.leader(), replica.leadership());
    // Who leads no more may never answer, and whoever leads now can be asked at once.
    tokio::select! {
        biased;
        found = timeout(ROUND_TIMEOUT, round) => found.unwrap_or_else(|_| Err("no quorum answered in time".into())),
        () = leadership.moves_from(leader) => Err("leadership moved".into()),
    }
}

impl Replica {
    /// The read index, after a quorum confirmed that this replica still leads.
    pub(crate) async fn confirm_leadership(&self) -> Result<u64, String> {
        let read = tokio::select! {
            biased;
            read = self.raft.get_read_log_id(ReadPolicy::ReadIndex) => read,
            never = self.ask_by_entry() => match never {},
        };
        match read {
            Ok((read, _)) => Ok(read.index()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// openraft waits for the answer to a heartbeat for half a lease, so a majority that is farther away than that never
    /// confirms by heartbeats. Who acknowledges an entry confirms as well: when there was none since the round began,
    /// there is one now, which changes nothing.
    async fn ask_by_entry(&self) -> Infallible {
        let last = || self.raft.metrics().borrow_watched().last_log_index;
        let before = last();
        tokio::time::sleep(self.config.heartbeat).await;
        if last() == before {
            let nothing = Command::LeasesEnd { leases: Vec::new() };
            // The round has an end of its own.
            let _ = self.raft.client_write(LogCommand(codec::command_to_bytes(&nothing))).await;
        }
        std::future::pending().await
    }

    async fn ask_leader(&self) -> Result<u64, String> {
        let leader = self.leader().ok_or("no leader is known")?;
        if leader == self.id() {
            return self.confirm_leadership().await;
        }
        let peer = self.peer(leader).ok_or("the leader is not a member")?;
        let answer = peer.control().read_index(ReadIndexRequest {}).await;
        match answer.map_err(|status| status.message().to_owned())?.into_inner().result {
            Some(Found::Index(index)) => Ok(index),
            Some(Found::NotLeader(_)) | None => Err(format!("replica {leader} does not lead any more")),
        }
    }

    /// One read index of a round that begins from now on.
    pub(crate) async fn read_index(queue: &mpsc::Sender<Reader>) -> Result<u64, String> {
        let (reader, answer) = oneshot::channel();
        queue.send(reader).await.map_err(|_| "this replica is stopping")?;
        answer.await.map_err(|_| "this replica is stopping".to_owned())?
    }

    /// Waits until everything acknowledged anywhere before the call is applied here.
    pub(crate) async fn read_barrier(&self) -> Result<Revision, StoreError> {
        let deadline = Instant::now() + READ_TIMEOUT;
        loop {
            self.check_running()?;
            if is_planted(Bug::ReadWithoutAsking) {
                return Ok(self.effects.applied.revision());
            }
            let round = tokio::time::timeout_at(deadline, Self::read_index(&self.barrier)).await;
            let why = match round {
                Ok(Ok(index)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if self.effects.applied.wait_index(index, left).await {
                        return Ok(self.effects.applied.revision());
                    }
                    format!("entry {index} is not applied here yet")
                }
                Ok(Err(why)) => why,
                Err(_) => "no answer in time".into(),
            };
            if is_planted(Bug::ReadAfterFailedRound) {
                return Ok(self.effects.applied.revision());
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Far more than a round needs.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn begun(rounds: &Mutex<Vec<oneshot::Sender<u64>>>, count: usize) {
        let look = async {
            while rounds.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("the round begins");
    }

    #[tokio::test]
    async fn nobody_waits_for_two_rounds() {
        let rounds: Arc<Mutex<Vec<oneshot::Sender<u64>>>> = Arc::default();
        let (queue, receiver) = mpsc::channel(8);
        let all = rounds.clone();
        let ask = move || {
            let (answer, answered) = oneshot::channel();
            all.lock().push(answer);
            Some(async move { answered.await.map_err(|error| error.to_string()) })
        };
        let serving = tokio::spawn(serve(receiver, ask));
        let first = tokio::spawn({
            let queue = queue.clone();
            async move { Replica::read_index(&queue).await }
        });
        begun(&rounds, 1).await;
        let second = tokio::spawn(async move { Replica::read_index(&queue).await });
        begun(&rounds, 2).await;
        let answers: Vec<_> = rounds.lock().drain(..).collect();
        let [one, two] = <[_; 2]>::try_from(answers).expect("two rounds");
        two.send(7).expect("it waits");
        assert_eq!(timeout(PATIENCE, second).await.expect("at once").expect("no panic"), Ok(7));
        assert!(!first.is_finished(), "its own round is still under way");
        one.send(5).expect("it waits");
        assert_eq!(timeout(PATIENCE, first).await.expect("now").expect("no panic"), Ok(5));
        timeout(PATIENCE, serving).await.expect("nobody asks any more").expect("no panic");
    }
}
