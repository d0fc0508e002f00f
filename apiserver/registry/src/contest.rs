//! Several who write one object at once. Who lost a race waits for its turn before it tries again, and who comes while
//! others wait joins them. If all went on at once, each write that is done would cost a try, and an entry of the log,
//! of everybody else; of more writers than that leaves room for none would ever be done in time.

use std::time::Duration;

use api_machinery::{ApiError, ObjectKey};
use store_api::ReadAt;

use crate::commit::Current;
use crate::errors::from_store;
use crate::turns::{Turn, Turns};
use crate::{Registry, RequestInfo};

/// By object. Of this replica: the others' writers are few then, one each.
pub(crate) type Contests = Turns<ObjectKey, ()>;

/// Longest wait for a turn. Who has it may wait for somebody (a webhook, say) who writes the same object first.
const PATIENCE: Duration = Duration::from_secs(3);

/// One writer's part in it.
pub(crate) struct Contest<'a> {
    registry: &'a Registry,
    info: &'a RequestInfo,
    key: &'a ObjectKey,
    turn: Option<Turn<'a, ObjectKey, ()>>,
}

impl<'a> Contest<'a> {
    /// Waits where others do. Not one who writes on top of one version only: it need not know who writes next.
    pub(crate) async fn enter(
        registry: &'a Registry,
        info: &'a RequestInfo,
        key: &'a ObjectKey,
    ) -> Result<Self, ApiError> {
        let mut contest = Self { registry, info, key, turn: None };
        if registry.contests.is_taken(key) {
            contest.line_up().await?;
        }
        Ok(contest)
    }

    /// After a lost race, with what is there now: what there is when the next try may be made.
    pub(crate) async fn lost(&mut self, newer: Current) -> Result<Current, ApiError> {
        self.check_wanted()?;
        if self.turn.is_some() {
            return Ok(newer);
        }
        let waits = self.registry.contests.is_taken(self.key);
        self.line_up().await?;
        if !waits {
            return Ok(newer);
        }
        // At least as new as what it lost to: that was applied here, too.
        let reply = self.registry.store.get(self.key.store_key().as_bytes(), ReadAt::Local).await;
        Current::from_kv(reply.map_err(from_store)?.kv)
    }

    async fn line_up(&mut self) -> Result<(), ApiError> {
        let turn = tokio::time::timeout(PATIENCE, self.registry.contests.take(self.key.clone()));
        tokio::select! {
            biased;
            turn = turn => self.turn = turn.ok(),
            () = self.info.left() => {}
        }
        self.check_wanted()
    }

    /// A client that is gone has sent its request again, perhaps, and waits in this line a second time.
    fn check_wanted(&self) -> Result<(), ApiError> {
        match self.info.has_left() {
            false => Ok(()),
            true => Err(ApiError::timeout(
                "Timeout: request did not complete within requested timeout - context canceled",
                0,
            )),
        }
    }
}
