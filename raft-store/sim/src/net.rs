//! The wire between replicas: calls as gRPC makes them, frame by frame, late, held back, cut, or made twice.
//!
//! What goes in one direction of one call stays in order, as on a TCP connection; nothing else does. A frame that is
//! lost takes with it all that follows in its call. Calls that are cut off are told so, or hear nothing for ever.

mod call;
mod pipe;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts as RequestParts;
use http::response::Parts as ResponseParts;
use parking_lot::Mutex;
use store_api::NodeId;
use store_node::world::PeerServer;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::Status;

use crate::facts::Fact;
use crate::plant::{Miscount, Plant};
use crate::rng::Rng;
use crate::shared::Shared;

pub(crate) use call::channel;
use pipe::Piece;

/// Until both ends of a connection notice that nothing gets through, microseconds.
const KEEPALIVE: u64 = 4_000_000;
/// Until a connection that cannot be made is given up, microseconds.
const CONNECT_TIMEOUT: u64 = 1_000_000;

/// How the wire is at the moment. Times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    /// Out of a hundred calls, so many break at some frame.
    pub(crate) breaking: u64,
    /// Out of a hundred calls that may be made twice, so many are.
    pub(crate) doubling: u64,
    /// Nothing goes from the first to the second.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
}

impl Weather {
    pub(crate) fn calm(delay: u64) -> Self {
        Self { delay, jitter: delay, breaking: 0, doubling: 0, cut: BTreeSet::new() }
    }
}

struct Endpoint {
    server: PeerServer,
    runtime: Handle,
}

/// One call, from the head of the request to the end of the response.
struct Call {
    from: NodeId,
    to: NodeId,
    path: String,
    cluster: String,
    up: Direction,
    down: Direction,
    /// Towards the server, once it has begun.
    request: Option<mpsc::UnboundedSender<Piece>>,
    /// The server's work.
    work: Option<AbortHandle>,
    /// Towards the client, until it has the head.
    head: Option<oneshot::Sender<Result<ResponseParts, String>>>,
    response: Option<mpsc::UnboundedSender<Piece>>,
    /// The same call again, whose answer nobody reads.
    twin: Option<u64>,
    /// One of both ends is no more.
    gone: bool,
}

#[derive(Default)]
struct Direction {
    /// When what was sent last arrives.
    last: u64,
    /// Nothing gets through any more.
    dead: bool,
}

enum Item {
    Head(Box<RequestParts>),
    Piece(Piece),
    ResponseHead(Box<ResponseParts>),
    Broken(String),
    /// The client does not want it any more.
    Cancel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

struct Packet {
    call: u64,
    way: Way,
    item: Item,
}

/// The wire.
pub(crate) struct Net {
    /// Microseconds of virtual time.
    pub(crate) now: u64,
    next: u64,
    pub(crate) weather: Weather,
    rng: Rng,
    queue: BTreeMap<(u64, u64), Packet>,
    /// What waits for a cut to end.
    held: Vec<((NodeId, NodeId), Packet)>,
    calls: BTreeMap<u64, Call>,
    endpoints: BTreeMap<NodeId, Endpoint>,
    addresses: BTreeMap<String, NodeId>,
    pub(crate) frames: u64,
    pub(crate) plant: Option<Plant>,
    miscount: Miscount,
}

impl Net {
    pub(crate) fn new(rng: Rng, plant: Option<Plant>) -> Self {
        Self {
            now: 0,
            next: 0,
            weather: Weather::calm(500),
            rng,
            queue: BTreeMap::new(),
            held: Vec::new(),
            calls: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            addresses: BTreeMap::new(),
            frames: 0,
            plant,
            miscount: Miscount::default(),
        }
    }

    pub(crate) fn name(&mut self, host: NodeId, address: &str) {
        self.addresses.insert(address.to_owned(), host);
    }

    /// From now on `host` can be called.
    pub(crate) fn open(&mut self, host: NodeId, server: PeerServer) {
        self.endpoints.insert(host, Endpoint { server, runtime: Handle::current() });
    }

    pub(crate) fn server(&self, host: NodeId) -> Option<PeerServer> {
        Some(self.endpoints.get(&host)?.server.clone())
    }

    /// Everything of `host` is gone. Those at the other ends of its calls are told so at once, or find out themselves
    /// after a while.
    #[must_use = "what was held for it must be let go of where no lock is held"]
    pub(crate) fn close(&mut self, host: NodeId, told: bool) -> Closed {
        let endpoint = self.endpoints.remove(&host);
        let mine = |call: &Call| call.from == host || call.to == host;
        let ended: Vec<u64> = self.calls.iter().filter(|(_, call)| mine(call)).map(|(id, _)| *id).collect();
        let mut let_go = Vec::new();
        for id in ended {
            let after = if told { self.fly() } else { KEEPALIVE };
            if let Some(call) = self.calls.get_mut(&id) {
                call.gone = true;
                let_go.push(call.leave(host));
            }
            self.doom(id, after);
        }
        Closed { _endpoint: endpoint.map(|endpoint| endpoint.server), _calls: let_go }
    }

    /// Both ends find out that the call is broken. A stream that is made twice breaks twice.
    fn doom(&mut self, id: u64, after: u64) {
        let twin = self.calls.get(&id).filter(|call| call::is_stream(&call.path)).and_then(|call| call.twin);
        for (id, way) in [id].into_iter().chain(twin).flat_map(|id| [(id, Way::Up), (id, Way::Down)]) {
            self.next += 1;
            let item = Item::Broken("the connection was reset".into());
            self.queue.insert((self.now + after, self.next), Packet { call: id, way, item });
        }
    }

    fn fly(&mut self) -> u64 {
        self.weather.delay + self.rng.number(0..self.weather.jitter.max(1))
    }

    /// Sends one item of a call. Nothing once an end of it is gone: the order in which a process's tasks are dropped
    /// is tokio's, by numbers that it gives tasks of all runs, and must not be seen.
    fn put(&mut self, id: u64, way: Way, item: Item) {
        if self.calls.get(&id).is_none_or(|call| call.gone) {
            return;
        }
        let flight = self.fly();
        let breaks = self.weather.breaking > 0 && self.rng.number(0..400) < self.weather.breaking;
        let (now, cut) = (self.now, &self.weather.cut);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let link = match way {
            Way::Up => (call.from, call.to),
            Way::Down => (call.to, call.from),
        };
        let direction = match way {
            Way::Up => &mut call.up,
            Way::Down => &mut call.down,
        };
        if direction.dead {
            return;
        }
        let item = match item {
            Item::Piece(_) | Item::ResponseHead(_) if breaks => {
                (call.up.dead, call.down.dead) = (true, true);
                self.doom(id, flight);
                return;
            }
            item => item,
        };
        let packet = Packet { call: id, way, item };
        if cut.contains(&link) {
            // The sender's system keeps it and tries again, until it gives up.
            match self.rng.once_in(2) {
                true => self.held.push((link, packet)),
                false => {
                    direction.dead = true;
                    self.doom(id, KEEPALIVE);
                }
            }
            return;
        }
        direction.last = direction.last.max(now + flight);
        let at = direction.last;
        self.next += 1;
        self.queue.insert((at, self.next), packet);
    }

    /// Changes the weather. What waited for a cut that is over flies now.
    pub(crate) fn change(&mut self, weather: Weather) {
        self.weather = weather;
        let held = std::mem::take(&mut self.held);
        for (link, packet) in held {
            match self.weather.cut.contains(&link) {
                true => self.held.push((link, packet)),
                false => self.put(packet.call, packet.way, packet.item),
            }
        }
    }

    fn due(&mut self) -> Option<Packet> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        Some(first.remove())
    }
}

/// What must be dropped where no lock is held.
pub(crate) struct Closed {
    _endpoint: Option<PeerServer>,
    _calls: Vec<Call>,
}

impl Call {
    fn empty(from: NodeId, to: NodeId, path: &str, cluster: &str) -> Self {
        Self {
            from,
            to,
            path: path.into(),
            cluster: cluster.into(),
            up: Direction::default(),
            down: Direction::default(),
            request: None,
            work: None,
            head: None,
            response: None,
            twin: None,
            gone: false,
        }
    }

    /// Takes out what belongs to the end at `host`.
    fn leave(&mut self, host: NodeId) -> Self {
        let mut part = Self::empty(self.from, self.to, "", "");
        if self.from == host {
            (part.head, part.response) = (self.head.take(), self.response.take());
        }
        if self.to == host {
            (part.request, part.work) = (self.request.take(), self.work.take());
        }
        part
    }

    fn tell(&mut self, piece: Piece) {
        if let Some(response) = &self.response {
            response.send(piece).ok();
        }
    }
}

/// Delivers everything that is due.
pub(crate) fn deliver(shared: &Shared) {
    loop {
        let Some(packet) = shared.net.lock().due() else { return };
        let id = packet.call;
        match packet.way {
            Way::Up => arrive(shared, id, packet.item),
            Way::Down => answer(&shared.net, id, packet.item),
        }
    }
}

fn arrive(shared: &Shared, id: u64, item: Item) {
    let mut net = shared.net.lock();
    let Some(call) = net.calls.get_mut(&id).filter(|call| !call.gone || matches!(item, Item::Broken(_))) else {
        return;
    };
    match item {
        Item::Head(parts) => {
            let (from, to, cluster) = (call.from, call.to, call.cluster.clone());
            let (send, receive) = mpsc::unbounded_channel();
            call.request = Some(send);
            let Some(endpoint) = net.endpoints.get(&to) else {
                net.put(id, Way::Down, Item::Broken("the connection was reset".into()));
                return;
            };
            let request = http::Request::from_parts(*parts, pipe::body(receive));
            let work = call::serve(shared.me(), id, endpoint.server.clone(), from, cluster, request);
            let runtime = endpoint.runtime.clone();
            drop(net);
            let work = runtime.spawn(work).abort_handle();
            if let Some(call) = shared.net.lock().calls.get_mut(&id) {
                call.work = Some(work);
            }
        }
        Item::Piece(piece) => {
            if let Some(request) = &call.request {
                request.send(piece).ok();
            }
        }
        Item::Broken(_) | Item::Cancel => {
            let call = net.calls.remove(&id);
            drop(net);
            if let Some(work) = call.and_then(|call| call.work) {
                work.abort();
            }
        }
        Item::ResponseHead(_) => {}
    }
}

fn answer(net: &Mutex<Net>, id: u64, item: Item) {
    let mut net = net.lock();
    let Some(call) = net.calls.get_mut(&id).filter(|call| !call.gone || matches!(item, Item::Broken(_))) else {
        return;
    };
    match item {
        Item::ResponseHead(parts) => {
            if let Some(head) = call.head.take() {
                head.send(Ok(*parts)).ok();
            }
        }
        Item::Piece(piece) => {
            let last = matches!(piece, Piece::End(_));
            call.tell(piece);
            if last {
                net.calls.remove(&id);
            }
        }
        Item::Broken(why) => {
            if let Some(head) = call.head.take() {
                head.send(Err(why.clone())).ok();
            }
            call.tell(Piece::Broken(Status::unavailable(why)));
            let call = net.calls.remove(&id);
            drop(net);
            if let Some(work) = call.and_then(|call| call.work) {
                work.abort();
            }
        }
        Item::Head(_) | Item::Cancel => {}
    }
}

impl Net {
    /// Sends a frame of a call, after whoever listens has heard it.
    fn frame(&mut self, id: u64, way: Way, bytes: Bytes, facts: &mut Vec<Fact>) {
        self.frames += 1;
        let Some(call) = self.calls.get(&id) else { return };
        let (from, to) = match way {
            Way::Up => (call.from, call.to),
            Way::Down => (call.to, call.from),
        };
        let path = call.path.clone();
        let planted = (self.plant, &mut self.miscount);
        let bytes = wire::listen(&path, way == Way::Up, from, to, bytes, planted, facts);
        let twin = call.twin.filter(|_| way == Way::Up);
        if let Some(twin) = twin {
            self.put(twin, way, Item::Piece(Piece::Data(bytes.clone())));
        }
        self.put(id, way, Item::Piece(Piece::Data(bytes)));
    }

    fn end(&mut self, id: u64, way: Way, trailers: Option<HeaderMap>) {
        if let Some(twin) = self.calls.get(&id).and_then(|call| call.twin).filter(|_| way == Way::Up) {
            self.put(twin, way, Item::Piece(Piece::End(None)));
        }
        self.put(id, way, Item::Piece(Piece::End(trailers)));
    }
}
