//! What a lease is now. Keys and time to live are replicated; how much of it is left only the leader's clock says.

use std::time::Duration;

use kontiki_proto::raft::lease_remaining_response::Result as Answer;
use kontiki_proto::raft::{LeaseRemainingRequest, LeaseRemainingResponse};
use store_api::{LeaseId, LeaseInfo, StoreError};
use tokio::time::{Instant, timeout};

use crate::read_index::READ_TIMEOUT;
use crate::replica::Replica;

/// One question at most.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between tries while no leader is known or the known one does not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

impl Replica {
    pub(crate) async fn lease_info(&self, id: LeaseId) -> Result<LeaseInfo, StoreError> {
        self.read_barrier().await?;
        let lease = self.effects.engine.lease(id).ok_or(StoreError::LeaseNotFound(id))?;
        let ttl = Duration::from_millis(lease.ttl_ms);
        let remaining = self.remaining(id).await?.min(ttl);
        Ok(LeaseInfo { id, ttl, remaining, keys: lease.keys.into_iter().collect() })
    }

    async fn remaining(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let deadline = Instant::now() + READ_TIMEOUT;
        loop {
            self.check_running()?;
            let leader = self.leader();
            let answer = match leader {
                Some(leader) if leader == self.id() => Some(self.remaining_here(lease)),
                Some(leader) => self.ask_remaining(leader, lease).await,
                None => None,
            };
            if let Some(remaining) = answer {
                return Ok(remaining);
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(StoreError::Unavailable("no leader answered for the lease in time".into()));
            }
            self.leader_changed(leader, RETRY_PAUSE).await;
        }
    }

    fn remaining_here(&self, lease: LeaseId) -> Duration {
        self.effects.leases.lock().remaining(lease, Instant::now()).unwrap_or_default()
    }

    async fn ask_remaining(&self, leader: u64, lease: LeaseId) -> Option<Duration> {
        let mut client = self.peer(leader)?.control();
        let asked = timeout(ASK_TIMEOUT, client.lease_remaining(LeaseRemainingRequest { lease }));
        match asked.await.ok()?.ok()?.into_inner().result? {
            Answer::RemainingMs(ms) => Some(Duration::from_millis(ms)),
            Answer::NotLeader(_) => None,
        }
    }

    /// To a peer that takes this replica for the leader.
    pub(crate) fn answer_remaining(&self, request: &LeaseRemainingRequest) -> LeaseRemainingResponse {
        let result = match self.leads() {
            true => Answer::RemainingMs(self.remaining_here(request.lease).as_millis() as u64),
            false => Answer::NotLeader(crate::peer::not_leader(self.leader())),
        };
        LeaseRemainingResponse { result: Some(result) }
    }
}
