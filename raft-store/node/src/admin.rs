//! [`store_api::Admin`] on a replica.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use store_api::{
    Admin, Alarm, AlarmKind, HistoryHash, MemberError, MemberUpdate, NodeId, Revision, SnapshotCopy, Store, StoreError,
};
use tokio::time::Instant;

use crate::RaftStore;
use crate::blocking::behind;
use crate::errors::broken;
use crate::membership::Change;
use crate::replica::Replica;

/// Until another replica must lead that leadership was handed to.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys of one garbage-collection step.
const GARBAGE_STEP_KEYS: usize = 4_096;
/// Between tries to tell the others about this replica.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

impl RaftStore {
    /// Tells the others what this replica is called and where it serves clients, until they know it.
    pub async fn announce(&self, name: &str, client_urls: &[String]) {
        let update =
            MemberUpdate { name: Some(name.into()), client_urls: Some(client_urls.into()), ..MemberUpdate::default() };
        let change = Change::Update { id: self.replica.id(), update };
        while let Err(error) = self.replica.change(change.clone()).await {
            tracing::debug!(%error, "the name of this replica is not known to the others yet");
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        }
    }

    /// Runs disk work that takes long behind everything else.
    async fn behind<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Replica) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.replica.check_running()?;
        let replica = self.replica.clone();
        behind(move || work(&replica)).await.map_err(broken("work on the disk"))?
    }
}

impl Replica {
    /// Of this replica as it is now, of the others as they said last.
    fn alarms(&self) -> Vec<Alarm> {
        let corrupt = self.diverged.load(Ordering::Acquire) || self.doubt.lock().is_some();
        let mine = (self.id(), self.space.is_short(), corrupt);
        let said = self.said.lock();
        let others = said.iter().map(|(id, said)| (*id, said.short_of_space, said.fenced));
        alarms(others.chain([mine]).collect())
    }
}

/// Of members, each with whether it is short of space and whether its data is wrong.
fn alarms(mut members: Vec<(NodeId, bool, bool)>) -> Vec<Alarm> {
    members.sort_unstable();
    let of = |(member, short, corrupt): (NodeId, bool, bool)| {
        let raised = [(short, AlarmKind::NoSpace), (corrupt, AlarmKind::Corrupt)];
        raised.into_iter().filter_map(move |(raised, kind)| raised.then_some(Alarm { member, kind }))
    };
    members.into_iter().flat_map(of).collect()
}

#[async_trait]
impl Admin for RaftStore {
    async fn new_member_id(&self) -> Result<NodeId, StoreError> {
        self.allocate_node_id().await
    }

    async fn member_update(&self, id: NodeId, update: MemberUpdate) -> Result<(), StoreError> {
        self.replica.change(Change::Update { id, update }).await
    }

    async fn member_promote(&self, id: NodeId) -> Result<(), StoreError> {
        self.replica.change(Change::Promote(id)).await
    }

    async fn member_remove(&self, id: NodeId) -> Result<(), StoreError> {
        self.read_barrier().await?;
        match self.status().members.iter().any(|member| member.id == id) {
            true => self.remove_member(id, false).await,
            false => Err(MemberError::NotFound.into()),
        }
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), StoreError> {
        if !self.replica.leads() {
            return Err(MemberError::NotLeader.into());
        }
        if to == self.replica.id() {
            return Ok(());
        }
        if !self.replica.membership().voter_ids().any(|id| id == to) {
            return Err(MemberError::NotVoter.into());
        }
        self.replica.raft.trigger().transfer_leader(to).await.map_err(broken("handing leadership over"))?;
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        while self.replica.leader() != Some(to) {
            if Instant::now() >= deadline {
                return Err(StoreError::Unknown(format!("replica {to} does not lead yet")));
            }
            self.replica.leader_changed(self.replica.leader(), Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.replica.alarms()
    }

    async fn hash_at(&self, revision: Option<Revision>) -> Result<HistoryHash, StoreError> {
        self.behind(move |replica| replica.effects.engine.hash_at(revision)).await
    }

    async fn snapshot(&self) -> Result<SnapshotCopy, StoreError> {
        self.behind(|replica| {
            let built = replica.effects.engine.build_snapshot(&replica.effects.snapshots.unfinished())?;
            Ok(SnapshotCopy { path: built.file, bytes: built.bytes, revision: built.revision })
        })
        .await
    }

    async fn collect_garbage(&self) -> Result<(), StoreError> {
        self.behind(|replica| {
            while replica.effects.engine.collect_garbage(GARBAGE_STEP_KEYS)? {}
            Ok(())
        })
        .await
    }

    async fn defragment(&self) -> Result<(), StoreError> {
        self.behind(|replica| {
            replica.effects.engine.compact_files();
            replica.measure_disk();
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_name_the_members_in_order() {
        let alarm = |member, kind| Alarm { member, kind };
        assert_eq!(alarms(vec![(1, false, false), (2, false, false)]), []);
        let found = alarms(vec![(3, true, true), (1, false, false), (2, true, false)]);
        let want = [alarm(2, AlarmKind::NoSpace), alarm(3, AlarmKind::NoSpace), alarm(3, AlarmKind::Corrupt)];
        assert_eq!(found, want);
    }
}
