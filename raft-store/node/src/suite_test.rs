//! openraft's own suite for log stores and state machines, over the real disk.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use store_engine::{RaftLog, StateMachine};
use tempfile::TempDir;

use crate::log_store::LogStore;
use crate::snapshot::Snapshots;
use crate::state_machine::{Effects, Machine};
use crate::types::TypeConfig;

struct Disk;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Disk {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a directory");
        let log = RaftLog::open(dir.path()).expect("a log");
        let state = StateMachine::open(dir.path()).expect("a state");
        let snapshots = Snapshots::open(&dir.path().join("snapshots")).expect("snapshots");
        let effects = Effects::new(Arc::new(state), snapshots).expect("effects");
        Ok((dir, LogStore::open(Arc::new(log)).expect("a log store"), Machine(effects)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_storage_suite() {
    Suite::test_all(Disk).await.expect("openraft's suite");
}
