//! openraft's own suite for log stores and state machines, over the real disk.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, StorageError};
use store_engine::{RaftLog, StateMachine};
use tempfile::TempDir;

use crate::Held;
use crate::log_store::LogStore;
use crate::snapshot::{SnapshotData, Snapshots};
use crate::space::Space;
use crate::state_machine::{Effects, Machine, SnapshotBuilder};
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};

struct Disk;

impl StoreBuilder<TypeConfig, LogStore, Gapless, TempDir> for Disk {
    async fn build(&self) -> Result<(TempDir, LogStore, Gapless), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a directory");
        let log = RaftLog::open(dir.path()).expect("a log");
        let state = StateMachine::open(dir.path()).expect("a state");
        let snapshots = Snapshots::open(&dir.path().join("snapshots")).expect("snapshots");
        let effects = Effects::new(Arc::new(state), snapshots, Held::ALONE.events).expect("effects");
        let log =
            LogStore::open(Arc::new(log), None, None, Space::boundless(), Held::ALONE.entries).expect("a log store");
        Ok((dir, log, Gapless(Machine(effects))))
    }
}

/// The suite applies single entries out of a log; ours refuses holes. So blank entries fill them.
struct Gapless(Machine);

type Item = EntryResponder<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

impl Gapless {
    /// Those that lead from `next` to this entry, and it.
    fn filled(next: u64, item: Item) -> Vec<Item> {
        let index = item.0.log_id.index();
        let blank = |index| {
            let log_id = LogId::new(*item.0.log_id.committed_leader_id(), index);
            (Entry { log_id, payload: EntryPayload::Blank }, None)
        };
        let mut items: Vec<Item> = (next..index).map(blank).collect();
        items.push(item);
        items
    }
}

/// The suite carries snapshots to another state machine, as the network does: in files.
struct Filed(SnapshotBuilder, Arc<Effects>);

impl RaftSnapshotBuilder<TypeConfig> for Filed {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let Snapshot { meta, .. } = self.0.build_snapshot().await?;
        let file = self.1.outgoing(&meta)?;
        Ok(Snapshot { meta, snapshot: SnapshotData::File(file) })
    }
}

impl RaftStateMachine<TypeConfig> for Gapless {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Filed;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<Item, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let filled = Self::filled(self.0.0.engine.next_index(), item?);
            self.0.apply(stream::iter(filled.into_iter().map(Ok))).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Filed {
        Filed(self.0.get_snapshot_builder().await, self.0.0.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, data).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some(Snapshot { meta, .. }) = self.0.get_current_snapshot().await? else { return Ok(None) };
        let file = self.0.0.outgoing(&meta)?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::File(file) }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_storage_suite() {
    Suite::test_all(Disk).await.expect("openraft's suite");
}
