//! Watch: many watches share one stream of the client's.
//!
//! One task reads what the client asks ([`session`]), and each watch has a task that follows the store ([`follow`]).
//! All of them put what they have to say into one bounded queue, so that a client that does not read makes its own
//! watches wait, which costs the store nothing. How events become responses is decided in [`response`].

mod follow;
mod response;
mod session;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use kontiki_proto::etcd as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::face::{Face, requires_leader};
use crate::limits::WATCH_QUEUE;

pub(crate) struct WatchService(pub(crate) Arc<Face>);

type Responses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;
/// Where everything goes that one client is told.
type Out = mpsc::Sender<Result<pb::WatchResponse, Status>>;

#[tonic::async_trait]
impl pb::watch_server::Watch for WatchService {
    type WatchStream = Responses;

    async fn watch(&self, request: Request<Streaming<pb::WatchRequest>>) -> Result<Response<Responses>, Status> {
        self.0.admit(&request)?;
        let leader = requires_leader(&request).then(|| self.0.leader());
        let (out, responses) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(session::run(self.0.clone(), request.into_inner(), leader, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
