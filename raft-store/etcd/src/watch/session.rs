//! One stream of a client: opens and closes watches, and says how far all of them are.

use std::collections::BTreeMap;
use std::sync::Arc;

use kontiki_proto::etcd as pb;
use pb::watch_request::RequestUnion;
use store_api::{Revision, StoreError, WatchRequest};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Status, Streaming};

use super::Out;
use super::follow::{End, Follow, Reached, compacted};
use super::response::{Wish, range_of};
use crate::errors::{self, from_store};
use crate::face::{Face, given};
use crate::limits::TOO_LARGE;
use crate::limits::{LEADERLESS, MAX_WATCHES};

/// In responses that are about no watch, or about all of them.
const NO_WATCH: i64 = -1;
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const TOO_MANY: &str = "too many watches on one stream";

struct Open {
    task: AbortHandle,
    reached: Arc<Reached>,
}

struct Session {
    face: Arc<Face>,
    out: Out,
    watches: BTreeMap<i64, Open>,
    tasks: JoinSet<(i64, End)>,
    next_id: i64,
    bell: Arc<Notify>,
    /// The client asked how far all watches are, when the store was at this revision.
    progress: Option<Revision>,
}

/// What ends a session besides its client.
type Ended = Result<(), Status>;

pub(super) async fn run(
    face: Arc<Face>,
    mut requests: Streaming<pb::WatchRequest>,
    leader: Option<watch::Receiver<bool>>,
    out: Out,
) {
    let (stop, leaderless) = (face.stop.clone(), leaderless(leader));
    let mut session = Session {
        face,
        out: out.clone(),
        watches: BTreeMap::new(),
        tasks: JoinSet::new(),
        next_id: 0,
        bell: Arc::default(),
        progress: None,
    };
    let ended: Ended = tokio::select! {
        ended = session.serve(&mut requests) => ended,
        () = leaderless => Err(errors::NO_LEADER.into()),
        () = stop.cancelled() => Err(errors::STOPPED.into()),
        () = out.closed() => Ok(()),
    };
    session.tasks.shutdown().await;
    if let Err(status) = ended {
        out.send(Err(status)).await.ok();
    }
}

/// Until no leader was known for too long; for ever where none is required.
async fn leaderless(leader: Option<watch::Receiver<bool>>) {
    let Some(mut leader) = leader else { return std::future::pending().await };
    loop {
        // The sender lives as long as the face.
        if leader.wait_for(|known| !known).await.is_err() {
            return;
        }
        if tokio::time::timeout(LEADERLESS, leader.wait_for(|known| *known)).await.is_err() {
            return;
        }
    }
}

impl Session {
    async fn serve(&mut self, requests: &mut Streaming<pb::WatchRequest>) -> Ended {
        let mut open = true;
        loop {
            let bell = self.bell.clone();
            tokio::select! {
                request = requests.message(), if open => match request.map_err(|status| TOO_LARGE.status(status))? {
                    Some(request) => self.take(request).await?,
                    // The client has said all it wants; its watches go on.
                    None => open = false,
                },
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                () = bell.notified(), if self.progress.is_some() => {}
                // The client has said all it wants, and every watch has ended.
                else => return Ok(()),
            }
            self.tell_progress().await;
        }
    }

    async fn take(&mut self, request: pb::WatchRequest) -> Ended {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request).await,
            Some(RequestUnion::CancelRequest(request)) => {
                self.cancel(request.watch_id).await;
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress = Some(self.face.store.applied_revision());
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn ended(&mut self, ended: Result<(i64, End), tokio::task::JoinError>) -> Ended {
        match ended {
            Ok((id, End::Compacted)) => {
                self.watches.remove(&id);
                Ok(())
            }
            Ok((_, End::Failed(status))) => Err(status),
            // It was cancelled, or the session ends anyway.
            Ok((_, End::Gone)) | Err(_) => Ok(()),
        }
    }

    async fn tell(&self, response: pb::WatchResponse) {
        // A client that is gone ends the session elsewhere.
        self.out.send(Ok(response)).await.ok();
    }

    async fn create(&mut self, request: &pb::WatchCreateRequest) -> Ended {
        let revision = self.face.store.applied_revision();
        let header = self.face.header(revision);
        let created = |watch_id| pb::WatchResponse { header, watch_id, created: true, ..Default::default() };
        let (start, end) = range_of(request);
        let id = match self.id_for(request.watch_id, (!end.is_empty() && start >= end).then_some(EMPTY_RANGE)) {
            Ok(id) => id,
            Err(reason) => {
                let refused = created(NO_WATCH);
                self.tell(pb::WatchResponse { canceled: true, cancel_reason: reason.into(), ..refused }).await;
                return Ok(());
            }
        };
        let from = given(request.start_revision).unwrap_or(revision + 1);
        let opened = self.face.store.watch(WatchRequest { start, end, from }).await;
        self.tell(created(id)).await;
        match opened {
            Ok(stream) => self.follow(Wish::of(request, id), from, stream),
            Err(StoreError::Compacted { oldest, .. }) => self.tell(compacted(id, oldest, self.face.header(0))).await,
            Err(error) => return Err(from_store(error)),
        }
        Ok(())
    }

    fn follow(&mut self, wish: Wish, from: Revision, stream: Box<dyn store_api::WatchStream>) {
        let id = wish.id;
        let reached = Arc::new(Reached::new(from - 1, self.bell.clone()));
        let follow = Follow { face: self.face.clone(), wish, reached: reached.clone(), out: self.out.clone() };
        let task = self.tasks.spawn(async move { (id, follow.run(stream).await) });
        self.watches.insert(id, Open { task, reached });
    }

    /// The id asked for, or the next that is free when none is.
    fn id_for(&mut self, asked: i64, refused: Option<&'static str>) -> Result<i64, &'static str> {
        if let Some(reason) = refused {
            return Err(reason);
        }
        if self.watches.len() >= MAX_WATCHES {
            return Err(TOO_MANY);
        }
        if asked != 0 {
            return if self.watches.contains_key(&asked) { Err(DUPLICATE_ID) } else { Ok(asked) };
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    /// Nothing of the watch follows the answer. One that is not there is not answered.
    async fn cancel(&mut self, id: i64) {
        let Some(watch) = self.watches.remove(&id) else { return };
        watch.task.abort();
        while !watch.task.is_finished() {
            tokio::task::yield_now().await;
        }
        let response =
            pb::WatchResponse { header: self.face.header_now(), watch_id: id, canceled: true, ..Default::default() };
        self.tell(response).await;
    }

    /// Answers the question how far all watches are, once they are as far as the store was when it was asked.
    /// Without watches there is no answer, as there is none while one of them begins in the future.
    async fn tell_progress(&mut self) {
        let Some(asked) = self.progress else { return };
        let reached = self.watches.values().map(|watch| watch.reached.get()).min();
        let current = self.face.store.applied_revision();
        match reached {
            None => self.progress = None,
            Some(reached) if reached < asked => {}
            Some(reached) => {
                self.progress = None;
                let header = self.face.header(reached.min(current));
                self.tell(pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() }).await;
            }
        }
    }
}
