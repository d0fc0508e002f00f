//! Dialling a peer: TCP, then TLS that insists on the peer's name; failures are not repeated at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use store_api::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::CONNECT_TIMEOUT;
use crate::tls::PeerTls;

/// Bounds of the pause after a failed dial. Short: an election waits for connections.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(400);

/// A byte stream to a peer.
pub trait PeerIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> PeerIo for T {}

/// How peers are reached. Tests cut and delay links here.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Opens a byte stream to `addr` (`host:port`), the peer port of replica `to`.
    async fn dial(&self, to: NodeId, addr: &str) -> io::Result<Box<dyn PeerIo>>;
}

/// TCP.
#[derive(Clone, Copy, Debug)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, _to: NodeId, addr: &str) -> io::Result<Box<dyn PeerIo>> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// The connection could not be made: whatever was to be sent on it was not sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to replica {to} at {addr}")]
pub(crate) struct ConnectFailed {
    to: NodeId,
    addr: String,
    source: io::Error,
}

impl ConnectFailed {
    pub(crate) fn new(to: NodeId, addr: &str, source: io::Error) -> Self {
        Self { to, addr: addr.into(), source }
    }
}

/// Makes connections to one peer.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) to: NodeId,
    pub(crate) addr: String,
    pub(crate) tls: Arc<PeerTls>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) pause: Arc<Pause>,
}

impl Connector {
    pub(crate) async fn connect(self) -> Result<TokioIo<TlsStream<Box<dyn PeerIo>>>, ConnectFailed> {
        let tried = match self.pause.until_allowed() {
            Some(wait) => Err(io::Error::other(format!("the last try failed, next in {wait:?}"))),
            None => {
                let tried = timeout(CONNECT_TIMEOUT, self.handshake()).await;
                tried
                    .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
                    .inspect_err(|_| self.pause.failed())
            }
        };
        match tried {
            Ok(stream) => {
                self.pause.succeeded();
                Ok(TokioIo::new(stream))
            }
            Err(source) => Err(ConnectFailed { to: self.to, addr: self.addr, source }),
        }
    }

    async fn handshake(&self) -> io::Result<TlsStream<Box<dyn PeerIo>>> {
        let stream = self.dial.dial(self.to, &self.addr).await?;
        let name = self.tls.server_name(self.to)?;
        TlsConnector::from(self.tls.client()).connect(name, stream).await
    }
}

/// Grows with every failed dial, jittered, so that replicas do not dial in step.
#[derive(Default)]
pub(crate) struct Pause(Mutex<(u32, Option<Instant>)>);

impl Pause {
    fn until_allowed(&self) -> Option<Duration> {
        let (_, not_before) = *self.0.lock();
        not_before.and_then(|at| at.checked_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    fn failed(&self) {
        let mut state = self.0.lock();
        state.0 = state.0.saturating_add(1);
        state.1 = Some(Instant::now() + backoff(state.0, RandomState::new().build_hasher().finish()));
    }

    fn succeeded(&self) {
        *self.0.lock() = (0, None);
    }
}

/// Between half of and the whole exponential pause.
fn backoff(failures: u32, random: u64) -> Duration {
    let whole = BACKOFF.start().saturating_mul(1 << failures.saturating_sub(1).min(16)).min(*BACKOFF.end());
    let half = whole / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_equal_in_step() {
        let range = |failures| (backoff(failures, 0).as_millis(), backoff(failures, u64::MAX).as_millis());
        assert_eq!([1, 2, 3, 5, 6, 99].map(range), [(10, 20), (20, 40), (40, 80), (160, 320), (200, 400), (200, 400)]);
    }
}
