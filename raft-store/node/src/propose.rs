//! Writes: proposed here when this replica leads, forwarded when another does, tried again within the
//! deadline when leadership moves. What surely did not happen and what may have happened stay apart.

use std::time::Duration;

use bytes::Bytes;
use store_api::{MAX_TXN_BYTES, NodeId, StoreError};
use store_core::{Command, Reply};
use store_engine::planted::{Bug, is_planted};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::answers::Expected;
use crate::forward::Forwarded;
use crate::replica::{PROPOSALS_KIB, Replica};
use crate::{codec, gate};

/// Until a write is given up.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(7);
/// Largest encoded command: the largest transaction's keys and values, and room for what names them.
pub(crate) const MAX_COMMAND_BYTES: usize = MAX_TXN_BYTES + (1 << 20);
/// Between tries while the known leader refuses, growing: it may not be sure yet that it leads.
const RETRY_PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(25)..=Duration::from_millis(200);

/// What one try came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    Applied {
        index: u64,
        /// `None`: the entry's answer is found where it is applied, also here.
        reply: Option<Reply>,
    },
    /// Nothing was proposed; perhaps this one leads.
    NotLeader(Option<NodeId>),
    /// It may be in the log, or get there.
    Unknown(String),
    /// Nothing was proposed, and trying again is of no use.
    Failed(StoreError),
}

impl Replica {
    /// Proposes until applied, or until [`WRITE_TIMEOUT`]. Returns after the entry is applied here.
    pub(crate) async fn propose(&self, mut command: Command) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let mut bytes = codec::command_to_bytes(&command);
        let _slot = self.slot(&bytes, deadline).await?;
        let mut unknown: Option<String> = None;
        let mut expected: Option<Expected> = None;
        let mut pause = *RETRY_PAUSE.start();
        metrics::counter!("kontiki_store_proposals_total").increment(1);
        loop {
            self.check_running().map_err(|error| unless_unknown(error, &unknown))?;
            let leader = self.leader();
            let forward = leader.is_some_and(|leader| leader != self.id());
            // A lost answer makes a retry a second effect, unless the request has a name.
            if forward && give_request_id(&mut command, self) {
                bytes = codec::command_to_bytes(&command);
            }
            if forward && expected.is_none() {
                expected = command.request().map(|request| self.effects.answers.expect(request));
            }
            let attempt = match forward {
                true => self.forward(bytes.clone(), deadline).await,
                false => self.propose_here(&command, bytes.clone(), deadline).await,
            };
            match attempt {
                Attempt::Applied { index, reply } => match self.finish(index, reply, &expected, deadline).await? {
                    Some(reply) => return conclude(&command, reply, unknown.is_some()),
                    None => unknown = Some(format!("the write is entry {index}, its answer was lost")),
                },
                Attempt::NotLeader(_) => {}
                Attempt::Unknown(why) if !can_repeat(&command) => return Err(StoreError::Unknown(why)),
                Attempt::Unknown(why) => unknown = Some(why),
                Attempt::Failed(error) => return Err(unless_unknown(error, &unknown)),
            }
            metrics::counter!("kontiki_store_proposal_retries_total").increment(1);
            let limit = deadline.saturating_duration_since(Instant::now());
            if limit <= *RETRY_PAUSE.start() {
                let error = StoreError::Unavailable("no leader took the write in time".into());
                return Err(unless_unknown(error, &unknown));
            }
            // Without a leader there is nothing to try.
            self.leader_changed(leader, if leader.is_some() { pause.min(limit) } else { limit }).await;
            pause = (pause * 2).min(*RETRY_PAUSE.end());
        }
    }

    /// Bounds what is under way here, by bytes.
    async fn slot(&self, bytes: &Bytes, deadline: Instant) -> Result<OwnedSemaphorePermit, StoreError> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(StoreError::Invalid(format!(
                "the request has {} bytes, the limit is {MAX_COMMAND_BYTES}",
                bytes.len()
            )));
        }
        let kib = (bytes.len().div_ceil(1024)).clamp(1, PROPOSALS_KIB) as u32;
        match timeout_at(deadline, self.proposals.clone().acquire_many_owned(kib)).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(StoreError::Unavailable("too many writes are waiting".into())),
        }
    }

    /// Proposes as leader: the command, and how the log carries it.
    pub(crate) async fn propose_here(&self, command: &Command, bytes: Bytes, deadline: Instant) -> Attempt {
        if let Err(error) = self.room_for(command) {
            return Attempt::Failed(error);
        }
        gate::enter(&self.gate, &self.raft, bytes, deadline, self.timing.fast()).await
    }

    /// Sends to the leader, together with other writes that wait.
    async fn forward(&self, bytes: Bytes, deadline: Instant) -> Attempt {
        let (answer, result) = oneshot::channel();
        if self.forwards.send(Forwarded { bytes, deadline, answer }).await.is_err() {
            return Attempt::Failed(StoreError::Unavailable("this replica is stopping".into()));
        }
        match timeout_at(deadline, result).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(_)) => Attempt::Unknown("this replica is stopping".into()),
            Err(_) => Attempt::Unknown("the leader did not answer in time".into()),
        }
    }

    /// The entry is applied on the leader. Waits until it is applied here, so that the writer can read it, and
    /// answers its reply; `None` when it is lost, because a snapshot took the entry's place here.
    async fn finish(
        &self,
        index: u64,
        reply: Option<Reply>,
        expected: &Option<Expected>,
        deadline: Instant,
    ) -> Result<Option<Reply>, StoreError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.effects.applied.wait_index(index, left).await {
            return Err(StoreError::Unknown(format!("the write is entry {index}, which is not applied here yet")));
        }
        Ok(reply.or_else(|| expected.as_ref()?.at(index)))
    }
}

fn conclude(command: &Command, reply: Reply, tried_before: bool) -> Result<Reply, StoreError> {
    match reply {
        Reply::Refused(error) if tried_before && done_before(command, &error) => Ok(Reply::Done),
        Reply::Refused(error) => Err(error),
        reply => Ok(reply),
    }
}

/// Names a request that has no name yet; answers whether it did.
fn give_request_id(command: &mut Command, replica: &Replica) -> bool {
    let request = match command {
        Command::Txn(txn) => &mut txn.request,
        Command::LeaseGrant { request, .. } | Command::AllocateNodeId { request } => request,
        Command::LeaseRenew { .. } | Command::LeaseRevoke { .. } | Command::LeasesEnd { .. } => return false,
        Command::Compact { .. } => return false,
    };
    if is_planted(Bug::RetryIsAnother) {
        *request = None;
    }
    let unnamed = request.is_none();
    request.get_or_insert_with(|| replica.next_request());
    unnamed
}

/// Whether proposing it twice has the effect of once.
fn can_repeat(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => txn.request.is_some(),
        Command::LeaseGrant { request, .. } | Command::AllocateNodeId { request } => request.is_some(),
        Command::LeaseRenew { .. } | Command::LeaseRevoke { .. } | Command::LeasesEnd { .. } => true,
        Command::Compact { .. } => true,
    }
}

/// Whether a repeated command was refused only because an earlier try had done it.
fn done_before(command: &Command, error: &StoreError) -> bool {
    matches!(
        (command, error),
        (Command::LeaseRevoke { only_if_renewals: None, .. }, StoreError::LeaseNotFound(_))
            | (Command::Compact { .. }, StoreError::Compacted { .. })
    )
}

/// A definite error is definite only when no earlier try may have taken effect.
fn unless_unknown(error: StoreError, unknown: &Option<String>) -> StoreError {
    match unknown {
        Some(why) => StoreError::Unknown(why.clone()),
        None => error,
    }
}
