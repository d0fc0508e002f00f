//! Both ends of a call.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use store_api::NodeId;
use store_node::world::{CallError, PeerChannel, PeerServer, cannot_connect};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::body::Body;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::pipe::{self, Piece};
use super::{CONNECT_TIMEOUT, Call, Item, Way};
use crate::shared::Shared;

/// Calls of these last as long as both ends want: a twin would never end by itself.
const STREAMS: [&str; 2] = ["/AppendEntries", "/InstallSnapshot"];

pub(super) fn is_stream(path: &str) -> bool {
    STREAMS.iter().any(|name| path.ends_with(name))
}

/// How `from`, of a cluster, calls whoever is at `address`.
pub(crate) fn channel(shared: Arc<Shared>, from: NodeId, to: NodeId, address: &str, cluster: &str) -> PeerChannel {
    let (address, cluster): (Arc<str>, Arc<str>) = (address.into(), cluster.into());
    BoxCloneSyncService::new(service_fn(move |request| {
        call(shared.clone(), from, to, address.clone(), cluster.clone(), request)
    }))
}

/// Ends a call when its client lets go of it.
struct Guard {
    shared: Arc<Shared>,
    id: u64,
    sending: AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sending.abort();
        let mut net = self.shared.net.lock();
        let Some(call) = net.calls.get_mut(&self.id) else { return };
        let (head, response) = (call.head.take(), call.response.take());
        let twin = call.twin.filter(|_| is_stream(&call.path));
        // Until it arrives the server goes on.
        net.put(self.id, Way::Up, Item::Cancel);
        if let Some(twin) = twin {
            net.put(twin, Way::Up, Item::Cancel);
        }
        drop(net);
        drop((head, response));
    }
}

async fn call(
    shared: Arc<Shared>,
    from: NodeId,
    to: NodeId,
    address: Arc<str>,
    cluster: Arc<str>,
    request: Request<Body>,
) -> Result<Response<Body>, CallError> {
    let begun = shared.begin(from, &address, &cluster, &request);
    let Some((id, head, response)) = begun else {
        let patience = shared.patience();
        tokio::time::sleep(std::time::Duration::from_micros(patience)).await;
        return Err(cannot_connect(to, &address, "nobody answers"));
    };
    let (parts, body) = request.into_parts();
    shared.send_head(id, parts);
    let sending = tokio::spawn(send_body(shared.clone(), id, body)).abort_handle();
    let guard = Guard { shared, id, sending };
    match head.await {
        Ok(Ok(parts)) => Ok(Response::from_parts(parts, pipe::guarded(response, guard))),
        Ok(Err(why)) => Err(CallError::new(why)),
        Err(_) => Err(CallError::new("the connection was lost")),
    }
}

type Begun = (u64, oneshot::Receiver<Result<http::response::Parts, String>>, mpsc::UnboundedReceiver<Piece>);

impl Shared {
    /// `None`: no connection can be made.
    fn begin(&self, from: NodeId, address: &str, cluster: &str, request: &Request<Body>) -> Option<Begun> {
        let mut net = self.net.lock();
        let to = *net.addresses.get(address)?;
        let cut = net.weather.cut.contains(&(from, to)) || net.weather.cut.contains(&(to, from));
        // A connection may be there from before.
        if !net.endpoints.contains_key(&to) || (cut && net.rng.once_in(2)) {
            return None;
        }
        let path = request.uri().path().to_owned();
        // All calls of the protocol are of the kind that may be made twice.
        let doubling = net.weather.doubling;
        let doubled = doubling > 0 && net.rng.percent(doubling);
        net.next += 2;
        let id = net.next;
        let (head, head_answer) = oneshot::channel();
        let (response, pieces) = mpsc::unbounded_channel();
        let twin = doubled.then_some(id - 1);
        if let Some(twin) = twin {
            net.calls.insert(twin, Call::empty(from, to, &path, cluster));
        }
        let call = Call { head: Some(head), response: Some(response), twin, ..Call::empty(from, to, &path, cluster) };
        net.calls.insert(id, call);
        Some((id, head_answer, pieces))
    }

    fn patience(&self) -> u64 {
        let mut net = self.net.lock();
        match net.rng.once_in(2) {
            true => net.weather.delay * 2,
            false => CONNECT_TIMEOUT,
        }
    }

    fn send_head(&self, id: u64, parts: http::request::Parts) {
        let mut net = self.net.lock();
        if let Some(twin) = net.calls.get(&id).and_then(|call| call.twin) {
            net.put(twin, Way::Up, Item::Head(Box::new(parts.clone())));
        }
        net.put(id, Way::Up, Item::Head(Box::new(parts)));
    }

    fn send_frame(&self, id: u64, way: Way, frame: http_body::Frame<bytes::Bytes>) -> bool {
        let (mut net, mut facts) = (self.net.lock(), self.facts.lock());
        match frame.into_data() {
            Ok(bytes) => {
                net.frame(id, way, bytes, &mut facts);
                false
            }
            Err(frame) => {
                net.end(id, way, frame.into_trailers().ok());
                true
            }
        }
    }
}

async fn send_body(shared: Arc<Shared>, id: u64, mut body: Body) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        if shared.send_frame(id, Way::Up, frame) {
            return;
        }
    }
    shared.net.lock().end(id, Way::Up, None);
}

/// The server's side of a call.
pub(super) async fn serve(
    shared: Arc<Shared>,
    id: u64,
    server: PeerServer,
    from: NodeId,
    cluster: String,
    request: Request<Body>,
) {
    let (parts, mut body) = server.call(from, &cluster, request).await.into_parts();
    shared.net.lock().put(id, Way::Down, Item::ResponseHead(Box::new(parts)));
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if shared.send_frame(id, Way::Down, frame) {
                    return;
                }
            }
            Err(status) => {
                shared.net.lock().put(id, Way::Down, Item::Broken(status.to_string()));
                return;
            }
        }
    }
    shared.net.lock().end(id, Way::Down, None);
}
