//! Links between replicas that can be cut, stalled, and long.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use store_api::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{Dial, PeerIo, TcpDial};

/// Which replica may dial which, and the connections there are.
#[derive(Default)]
pub struct Links {
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    cut: HashSet<(NodeId, NodeId)>,
    stalled: HashSet<(NodeId, NodeId)>,
    delays: HashMap<(NodeId, NodeId), Duration>,
    open: HashMap<(NodeId, NodeId), Vec<CancellationToken>>,
}

impl Links {
    /// No new connection from `from` to `to`; existing ones break.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let mut state = self.state.lock();
        state.cut.insert((from, to));
        state.open.remove(&(from, to)).into_iter().flatten().for_each(|connection| connection.cancel());
    }

    /// Connections from `from` to `to` stay, and nothing passes on them in either direction, as when a process is
    /// paused.
    pub fn stall(&self, from: NodeId, to: NodeId) {
        self.state.lock().stalled.insert((from, to));
    }

    /// What passes between the two, in either direction, is late by this from now on; connections there are break.
    pub fn delay(&self, one: NodeId, other: NodeId, by: Duration) {
        let mut state = self.state.lock();
        for ends in [(one, other), (other, one)] {
            state.delays.insert(ends, by);
            state.open.remove(&ends).into_iter().flatten().for_each(|connection| connection.cancel());
        }
    }

    fn delay_of(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        self.state.lock().delays.get(&(from, to)).copied()
    }

    /// All links work again.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.stalled.clear();
    }

    fn is_stalled(&self, from: NodeId, to: NodeId) -> bool {
        self.state.lock().stalled.contains(&(from, to))
    }

    fn admit(&self, from: NodeId, to: NodeId) -> io::Result<CancellationToken> {
        let mut state = self.state.lock();
        if state.cut.contains(&(from, to)) {
            return Err(io::Error::from(io::ErrorKind::HostUnreachable));
        }
        let connection = CancellationToken::new();
        state.open.entry((from, to)).or_default().push(connection.clone());
        Ok(connection)
    }
}

/// Dials as one replica, as far as the links allow.
pub struct LinkedDial {
    pub from: NodeId,
    pub links: Arc<Links>,
}

#[async_trait]
impl Dial for LinkedDial {
    async fn dial(&self, to: NodeId, addr: &str) -> io::Result<Box<dyn PeerIo>> {
        let cut = self.links.admit(self.from, to)?;
        let stream = TcpDial.dial(to, addr).await?;
        let stream = match self.links.delay_of(self.from, to) {
            Some(delay) => late(stream, delay),
            None => stream,
        };
        let look_again = Box::pin(tokio::time::sleep(Duration::ZERO));
        let (links, ends) = (self.links.clone(), (self.from, to));
        Ok(Box::new(Cuttable { stream, cut: Box::pin(cut.cancelled_owned()), links, ends, look_again }))
    }
}

/// Bytes that a late connection takes in before they are sent, and reads at once.
const LATE_BYTES: usize = 4 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// A connection on which everything arrives this much later, both ways.
fn late(stream: Box<dyn PeerIo>, delay: Duration) -> Box<dyn PeerIo> {
    let (near, far) = tokio::io::duplex(LATE_BYTES);
    let (far_read, far_write) = tokio::io::split(far);
    let (read, write) = tokio::io::split(stream);
    tokio::spawn(pass(far_read, write, delay));
    tokio::spawn(pass(read, far_write, delay));
    Box::new(near)
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        // The other end may be gone.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// How often a stalled connection looks whether it is still.
const STALL_TICK: Duration = Duration::from_millis(5);

struct Cuttable {
    stream: Box<dyn PeerIo>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    links: Arc<Links>,
    ends: (NodeId, NodeId),
    look_again: Pin<Box<Sleep>>,
}

impl Cuttable {
    /// Ready when bytes may pass.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
        while self.links.is_stalled(self.ends.0, self.ends.1) {
            ready!(self.look_again.as_mut().poll(cx));
            self.look_again.as_mut().reset(tokio::time::Instant::now() + STALL_TICK);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.check(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.check(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
