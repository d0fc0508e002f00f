//! One watch: follows the store and tells the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kontiki_proto::etcd as pb;
use store_api::{Revision, StoreError, WatchStream};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;

use super::Out;
use super::response::Wish;
use crate::errors::{self, from_store};
use crate::face::{Face, signed};

/// How far a watch has told its client.
#[derive(Default)]
pub(super) struct Reached {
    revision: AtomicU64,
    /// Rung when it grows; shared by the watches of a stream.
    bell: Arc<Notify>,
}

impl Reached {
    pub(super) fn new(revision: Revision, bell: Arc<Notify>) -> Self {
        Self { revision: revision.into(), bell }
    }

    pub(super) fn get(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    fn set(&self, revision: Revision) {
        self.revision.store(revision, Ordering::Release);
        self.bell.notify_one();
    }
}

/// Why a watch ended by itself.
pub(super) enum End {
    /// It was told to the client; other watches of the stream go on.
    Compacted,
    /// The whole stream ends.
    Failed(Status),
    /// The client is gone.
    Gone,
}

pub(super) struct Follow {
    pub(super) face: Arc<Face>,
    pub(super) wish: Wish,
    pub(super) reached: Arc<Reached>,
    pub(super) out: Out,
}

impl Follow {
    pub(super) async fn run(self, mut stream: Box<dyn WatchStream>) -> End {
        let mut tick = interval(self.face.config.progress_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut silent = true;
        loop {
            tokio::select! {
                batch = stream.next() => match batch {
                    Ok(batch) => {
                        let revision = batch.revision;
                        let responses = self.wish.responses(batch);
                        silent &= responses.is_empty();
                        if !self.tell(responses).await {
                            return End::Gone;
                        }
                        self.reached.set(revision);
                    }
                    Err(error) => return self.end(error).await,
                },
                _ = tick.tick(), if self.wish.progress => {
                    if std::mem::replace(&mut silent, true) && !self.tell_progress().await {
                        return End::Gone;
                    }
                }
            }
        }
    }

    /// False when nobody listens any more.
    async fn tell(&self, responses: Vec<(Revision, pb::WatchResponse)>) -> bool {
        for (upto, response) in responses {
            let response = pb::WatchResponse { header: self.face.header(upto), ..response };
            if self.out.send(Ok(response)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Everything up to here was told, and there was nothing in it for this watch.
    async fn tell_progress(&self) -> bool {
        let reached = self.reached.get();
        // One that begins in the future has no progress to tell.
        if reached > self.face.store.applied_revision() {
            return true;
        }
        self.tell(vec![(reached, pb::WatchResponse { watch_id: self.wish.id, ..Default::default() })]).await
    }

    async fn end(&self, error: StoreError) -> End {
        match error {
            StoreError::Compacted { oldest, .. } => {
                self.out.send(Ok(compacted(self.wish.id, oldest, self.face.header(0)))).await.ok();
                End::Compacted
            }
            StoreError::Unavailable(_) => End::Failed(errors::STOPPED.into()),
            error => End::Failed(from_store(error)),
        }
    }
}

/// The end of a watch whose revisions are forgotten; `oldest` is where it could begin.
pub(super) fn compacted(id: i64, oldest: Revision, header: Option<pb::ResponseHeader>) -> pb::WatchResponse {
    pb::WatchResponse { header, watch_id: id, canceled: true, compact_revision: signed(oldest), ..Default::default() }
}
