//! A watch of all registers that goes on at another replica when the one it is at ends, or just so.

use std::sync::Arc;

use bytes::Bytes;
use store_api::{NodeId, Revision, Store, WatchRequest, prefix_end};
use store_node::RaftStore;
use tokio::task::AbortHandle;

use crate::checkers::watches::WATCHED;
use crate::facts::{Fact, Seen};
use crate::shared::Shared;

pub(crate) struct Watcher {
    pub(crate) id: u64,
    pub(crate) host: Option<NodeId>,
    /// Ends its watch.
    pub(crate) stop: Option<AbortHandle>,
    /// The first revision not seen yet.
    pub(crate) next: Revision,
    /// When it goes to another replica, microseconds.
    pub(crate) hops_at: u64,
}

impl Watcher {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, host: None, stop: None, next: 2, hops_at: 0 }
    }

    /// What its watch said.
    pub(crate) fn saw(&mut self, seen: &Seen) {
        match seen {
            Seen::Opened { .. } => {}
            Seen::Batch { revision, .. } => self.next = self.next.max(revision + 1),
            Seen::Ended(error) => {
                self.host = None;
                if let store_api::StoreError::Compacted { oldest, .. } = error {
                    self.next = *oldest;
                }
            }
        }
    }
}

/// Tells everything the watch says, until it ends.
pub(crate) async fn watch(store: Arc<RaftStore>, shared: Arc<Shared>, (watcher, host): (u64, NodeId), from: Revision) {
    let tell = |seen: Seen| shared.tell(Fact::Watched { watcher, host, seen });
    let range = WatchRequest { start: Bytes::from_static(WATCHED), end: prefix_end(WATCHED), from };
    let mut stream = match store.watch(range).await {
        Ok(stream) => stream,
        Err(error) => return tell(Seen::Ended(error)),
    };
    // It holds no replica.
    drop(store);
    tell(Seen::Opened { from });
    loop {
        match stream.next().await {
            Ok(batch) => tell(Seen::Batch { revision: batch.revision, events: batch.events }),
            Err(error) => return tell(Seen::Ended(error)),
        }
    }
}
