//! What one running replica is made of; shared by everything that acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftMetrics;
use parking_lot::Mutex;
use store_api::{NodeId, RequestId, StoreError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::NodeConfig;
use crate::contact::Contact;
use crate::exchange::Said;
use crate::forward::Forwarded;
use crate::gate::Gate;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::peer::{Peer, Peers};
use crate::read_index::Reader;
use crate::scrub::Scrub;
use crate::space::Space;
use crate::state_machine::{Effects, Machine};
use crate::timing::Timing;
use crate::types::{StoredMembership, TypeConfig};

pub(crate) type Raft = openraft::Raft<TypeConfig, Machine>;

/// Bytes of proposals under way on one replica, in KiB: beyond it writers wait.
pub(crate) const PROPOSALS_KIB: usize = 64 << 10;

pub(crate) struct Replica {
    pub(crate) config: NodeConfig,
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) effects: Arc<Effects>,
    pub(crate) log: LogStore,
    pub(crate) peers: Arc<Peers>,
    /// Read indexes confirmed by this replica as leader.
    pub(crate) confirm: mpsc::Sender<Reader>,
    /// Read indexes from whoever leads.
    pub(crate) barrier: mpsc::Sender<Reader>,
    pub(crate) forwards: mpsc::Sender<Forwarded>,
    pub(crate) proposals: Arc<Semaphore>,
    pub(crate) gate: Arc<Gate>,
    /// Of requests that arrive without an id, and of nobody else.
    pub(crate) client: u128,
    pub(crate) requests: AtomicU64,
    /// Bytes on disk, as last looked up: asking walks directories.
    pub(crate) disk_bytes: AtomicU64,
    /// Room on the disk.
    pub(crate) space: Arc<Space>,
    /// When it last knew that it is part of the cluster.
    pub(crate) contact: Contact,
    /// What the others said last.
    pub(crate) said: Mutex<BTreeMap<NodeId, Said>>,
    /// It is fenced off: its state differs from that of most others, or cannot be read.
    pub(crate) diverged: AtomicBool,
    /// What an operator should look at.
    pub(crate) doubt: Mutex<Option<String>>,
    /// Round trips to the others.
    pub(crate) timing: Timing,
    /// Hashing all that is kept.
    pub(crate) scrub: Arc<Scrub>,
    /// Held while the membership is changed.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// New requests are refused.
    pub(crate) stopping: AtomicBool,
    /// Everything this replica started ends.
    pub(crate) stop: CancellationToken,
}

impl Replica {
    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    /// The leader this replica knows of.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.id())
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// The membership in effect, committed or not.
    pub(crate) fn membership(&self) -> Arc<StoredMembership> {
        self.raft.metrics().borrow_watched().membership_config.clone()
    }

    /// The replica `id`, when it is a member.
    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        let membership = self.membership();
        let node = membership.membership().get_node(&id)?;
        Some(self.peers.get(id, node))
    }

    /// An id for a request that has none.
    pub(crate) fn next_request(&self) -> RequestId {
        RequestId { client: self.client, seq: self.requests.fetch_add(1, Ordering::Relaxed) }
    }

    /// Keeps what an operator should look at, and says it once.
    pub(crate) fn doubt(&self, found: Option<String>) {
        let mut doubt = self.doubt.lock();
        if let Some(why) = found.as_ref().filter(|_| *doubt != found) {
            tracing::error!(why, "something is wrong with the data");
        }
        // A damaged disk does not become well by itself.
        if found.is_some() || self.scrub.damage().is_none() {
            *doubt = found;
        }
    }

    /// A read that failed: a disk that does not hold what was written is noticed by whoever reads first.
    pub(crate) fn noticed(&self, error: StoreError) -> StoreError {
        if let StoreError::Fatal(why) = &error {
            self.scrub.found_damage(why);
        }
        error
    }

    pub(crate) fn measure_disk(&self) -> u64 {
        let bytes = self.effects.engine.disk_bytes() + self.log.disk_bytes() + self.effects.snapshots.disk_bytes();
        self.disk_bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    pub(crate) fn check_running(&self) -> Result<(), StoreError> {
        let why = if self.stopping.load(Ordering::Acquire) {
            "this replica is stopping"
        } else if self.diverged.load(Ordering::Acquire) {
            "this replica is fenced off: its state differs from that of the others, or its disk is damaged. It must be \
             healed"
        } else {
            return Ok(());
        };
        Err(StoreError::Unavailable(why.into()))
    }
}
