//! Who leads, as this replica knows it, to be waited for.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use store_api::NodeId;

use crate::replica::Replica;
use crate::types::TypeConfig;

/// Follows who leads without keeping the replica.
pub(crate) struct Leadership(WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>);

impl Leadership {
    /// Until the known leader differs from `seen`.
    pub(crate) async fn moves_from(&mut self, seen: Option<NodeId>) {
        while self.0.borrow_watched().current_leader == seen {
            if self.0.changed().await.is_err() {
                // Raft has stopped: nothing will change any more, let the caller's limit pass.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Replica {
    pub(crate) fn leadership(&self) -> Leadership {
        Leadership(self.raft.server_metrics())
    }

    /// Waits until the known leader differs from `seen`, at most `limit`.
    pub(crate) async fn leader_changed(&self, seen: Option<NodeId>, limit: Duration) {
        tokio::time::timeout(limit, self.leadership().moves_from(seen)).await.ok();
    }
}
