//! Connections to the other replicas: two per peer, so that bulk data never delays a heartbeat.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kontiki_proto::raft::raft_client::RaftClient;
use parking_lot::Mutex;
use store_api::NodeId;
use tokio::time::Instant;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

use super::connect::{ConnectFailed, Connector, Dial, Pause};
use super::{Address, CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_MESSAGE_BYTES, STREAM_WINDOW};
use crate::tls::{PeerIdentity, PeerTls};
use crate::types::MemberNode;
use crate::world::{CallError, PeerChannel, World};

/// Who asked so long ago may well ask again.
const LATELY: Duration = Duration::from_secs(1);

pub(crate) type Client = RaftClient<InterceptedService<PeerChannel, Address>>;

/// The other replicas, as this one reaches them.
pub(crate) struct Peers {
    me: PeerIdentity,
    /// Of this replica's data directory.
    incarnation: String,
    world: Arc<dyn World>,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    /// Highest log index of a committed membership without this replica that a peer reported, plus one.
    removed_since: AtomicU64,
    removed: tokio::sync::Notify,
}

/// One other replica.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    addr: String,
    incarnation: Option<String>,
    control: Client,
    bulk: Client,
    /// When it asked last for what it then waits for.
    asked: Mutex<Option<Instant>>,
}

impl Peers {
    pub(crate) fn new(me: PeerIdentity, incarnation: String, world: Arc<dyn World>) -> Arc<Self> {
        Arc::new(Self {
            me,
            incarnation,
            world,
            peers: Mutex::default(),
            removed_since: AtomicU64::new(0),
            removed: tokio::sync::Notify::new(),
        })
    }

    /// The member `id`; connections to an address it had before are given up.
    pub(crate) fn get(&self, id: NodeId, node: &MemberNode) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&id)
            && peer.addr == node.peer_addr
            && peer.incarnation.as_ref() == Some(&node.incarnation)
        {
            return peer.clone();
        }
        let peer = Arc::new(self.make(id, &node.peer_addr, Some(node.incarnation.clone())));
        peers.insert(id, peer.clone());
        peer
    }

    /// A replica that is no member yet: nobody knows which disk it has.
    pub(crate) fn stranger(&self, id: NodeId, addr: &str) -> Peer {
        self.make(id, addr, None)
    }

    fn make(&self, id: NodeId, addr: &str, incarnation: Option<String>) -> Peer {
        let address = Address {
            cluster: self.me.cluster.clone(),
            from: self.me.id,
            to: id,
            from_incarnation: self.incarnation.clone(),
            to_incarnation: incarnation.clone(),
        };
        let client = |channel| {
            RaftClient::with_interceptor(channel, address.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
        let [control, bulk] = self.world.channels(id, addr).map(client);
        Peer { id, addr: addr.to_owned(), incarnation, control, bulk, asked: Mutex::default() }
    }

    /// A peer says that a committed membership at `index` does not contain this replica.
    pub(crate) fn report_removed(&self, index: u64) {
        self.removed_since.fetch_max(index.saturating_add(1), Ordering::AcqRel);
        self.removed.notify_one();
    }

    /// Waits for the next such report; answers the highest index reported so far.
    pub(crate) async fn removal_reported(&self) -> u64 {
        loop {
            self.removed.notified().await;
            if let Some(index) = self.removed_since.load(Ordering::Acquire).checked_sub(1) {
                return index;
            }
        }
    }
}

/// Two connections to a peer that share one view of whether it can be reached.
pub(crate) fn wire(to: NodeId, addr: &str, tls: Arc<PeerTls>, dial: Arc<dyn Dial>) -> [PeerChannel; 2] {
    let connector = Connector { to, addr: addr.to_owned(), tls, dial, pause: Arc::new(Pause::default()) };
    [channel(connector.clone()), channel(connector)]
}

fn channel(connector: Connector) -> PeerChannel {
    let endpoint = Endpoint::from_static("http://peer.kontiki")
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .buffer_size(4_096);
    let channel = endpoint.connect_with_connector_lazy(service_fn(move |_| connector.clone().connect()));
    BoxCloneSyncService::new(channel.map_err(CallError::new))
}

impl Peer {
    /// For small calls that must not wait: votes, heartbeats, read index.
    pub(crate) fn control(&self) -> Client {
        self.control.clone()
    }

    /// For log entries, snapshots and forwarded writes.
    pub(crate) fn bulk(&self) -> Client {
        self.bulk.clone()
    }

    /// It forwards a write, or asks how far it must have read: it waits until it has applied that.
    pub(crate) fn asks(&self) {
        *self.asked.lock() = Some(Instant::now());
    }

    /// Whether it did, and is likely to go on so.
    pub(crate) fn asked_lately(&self) -> bool {
        self.asked.lock().is_some_and(|asked| asked.elapsed() < LATELY)
    }
}

/// Whether a failed call surely had no effect: it was not sent, or refused before anybody looked at what it asks.
pub(crate) fn had_no_effect(status: &tonic::Status) -> bool {
    if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition) {
        return true;
    }
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectFailed>() {
            return true;
        }
        cause = error.source();
    }
    false
}
