//! What all services share: the store, and what every answer begins with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kontiki_proto::etcd::ResponseHeader;
use sha2::{Digest, Sha256};
use store_api::{DynAdmin, DynStore, Revision};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::{EtcdConfig, errors};

/// How often term and leader are looked at: answers name the term, and nobody decides by it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Set by clients that want no answer from a replica without leader.
const REQUIRE_LEADER: &str = "hasleader";

/// One replica's store as etcd's clients see it.
pub(crate) struct Face {
    pub(crate) store: DynStore,
    pub(crate) admin: DynAdmin,
    pub(crate) config: EtcdConfig,
    pub(crate) stop: CancellationToken,
    cluster: u64,
    member: u64,
    term: AtomicU64,
    leader: watch::Sender<bool>,
}

impl Face {
    pub(crate) fn new(store: DynStore, admin: DynAdmin, config: EtcdConfig, stop: CancellationToken) -> Arc<Self> {
        let status = store.status();
        let face = Arc::new(Self {
            cluster: cluster_number(&status.cluster_id),
            member: status.id,
            term: AtomicU64::new(status.term),
            leader: watch::Sender::new(store.health().is_ok()),
            store,
            admin,
            config,
            stop,
        });
        tokio::spawn(look(Arc::downgrade(&face)));
        face
    }

    pub(crate) fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster,
            member_id: self.member,
            revision: signed(revision),
            raft_term: self.term.load(Ordering::Relaxed),
        })
    }

    /// Of an answer that is about no revision in particular.
    pub(crate) fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.store.applied_revision())
    }

    /// Refuses a request that requires a leader where none is known.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match requires_leader(request) && !self.knows_leader() {
            true => Err(errors::NO_LEADER.into()),
            false => Ok(()),
        }
    }

    pub(crate) fn knows_leader(&self) -> bool {
        // It may have come since it was looked for.
        *self.leader.borrow() || self.store.health().is_ok()
    }

    /// Whether a leader is known, as it changes.
    pub(crate) fn leader(&self) -> watch::Receiver<bool> {
        self.leader.subscribe()
    }

    /// A leader that was not heard of for too long is none: whoever is alone goes on naming the last one.
    fn look(&self) {
        self.term.store(self.store.status().term, Ordering::Relaxed);
        let known = self.store.health().is_ok();
        self.leader.send_if_modified(|was| std::mem::replace(was, known) != known);
    }
}

async fn look(face: std::sync::Weak<Face>) {
    while let Some(face) = face.upgrade() {
        face.look();
        drop(face);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(crate) fn requires_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// A cluster's id as a number: etcd's are numbers, ours are names.
fn cluster_number(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

/// etcd's numbers are signed; ours never reach the half where it matters.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What is not above zero means "not given".
pub(crate) fn given(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}
