//! Linearizable reads on every replica: Raft's ReadIndex, shared by all readers that wait.
//!
//! A reader may use a read index only when the round that found it began after the reader asked. So
//! whoever arrives while a round is under way waits for the next one; one round serves them all. A
//! failed round gives its readers nothing, and each asks again in a new round.

use std::sync::Weak;
use std::time::Duration;

use kontiki_proto::raft::ReadIndexRequest;
use kontiki_proto::raft::read_index_response::Result as Found;
use openraft::ReadPolicy;
use store_api::{Revision, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::replica::Replica;

/// One round at most; also bounds how long an isolated leader keeps readers waiting.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// Until a linearizable read is given up.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Between a failed round and the next try of the same reader.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
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
    mut queue: mpsc::Receiver<Reader>,
    stop: CancellationToken,
) {
    let mut readers = Vec::new();
    loop {
        let received = stop.run_until_cancelled(queue.recv_many(&mut readers, ROUND_READERS)).await;
        let (Some(1..), Some(replica)) = (received, replica.upgrade()) else { return };
        let round = async {
            match question {
                Question::Confirm => replica.confirm_leadership().await,
                Question::Barrier => replica.ask_leader().await,
            }
        };
        let (leader, mut leadership) = (replica.leader(), replica.leadership());
        // Who leads no more may never answer, and whoever leads now can be asked at once.
        let found = tokio::select! {
            biased;
            found = timeout(ROUND_TIMEOUT, round) => found.unwrap_or_else(|_| Err("no quorum answered in time".into())),
            () = leadership.moves_from(leader) => Err("leadership moved".into()),
        };
        metrics::counter!("kontiki_raft_read_index_rounds_total").increment(1);
        metrics::counter!("kontiki_raft_read_index_readers_total").increment(readers.len() as u64);
        for reader in readers.drain(..) {
            reader.send(found.clone()).ok();
        }
    }
}

impl Replica {
    /// The read index, after a quorum confirmed that this replica still leads.
    pub(crate) async fn confirm_leadership(&self) -> Result<u64, String> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.index()),
            Err(error) => Err(error.to_string()),
        }
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
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
