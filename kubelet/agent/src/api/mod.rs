//! The agent's own small API client: JSON over HTTP/2, several servers, one connection at a time.

mod kubeconfig;
mod request;
mod servers;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use kubeconfig::Kubeconfig;
pub(crate) use request::ApiFailure;
use servers::Server;
pub use servers::Servers;
pub(crate) use watch::{ListWatch, Notice, list_watch};

/// To reach one server: TCP, TLS and HTTP/2 together.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// A server that says nothing for so long, and then not to a ping either, is left.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_millis(1500);
/// Hollow nodes are many and share their fate: they may notice later.
const HOLLOW_PING_EVERY: Duration = Duration::from_secs(10);

type Sender = SendRequest<Full<Bytes>>;
type Opened = (Sender, Option<HeaderValue>);

/// Talks to whichever of the API servers answers, and moves on when it stops to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    kubeconfig: PathBuf,
    /// The kubeconfig's.
    first: Server,
    more: Servers,
    /// The server to try first, by its place among all.
    preferred: AtomicUsize,
    connection: tokio::sync::Mutex<Option<Connection>>,
    hollow: bool,
}

#[derive(Clone)]
struct Connection {
    server: Server,
    sender: Sender,
    /// `Authorization`, when we identify ourselves by token. As old as the connection.
    authorization: Option<HeaderValue>,
}

impl Client {
    /// The server of the kubeconfig first, then `more`. Nothing is connected yet.
    pub(crate) fn new(kubeconfig: PathBuf, more: &Servers, hollow: bool) -> Result<Self, ApiFailure> {
        let access = Kubeconfig::load(&kubeconfig).and_then(|k| k.access()).map_err(ApiFailure::Config)?;
        let first = Server::parse(&access.server).map_err(ApiFailure::Config)?;
        for url in more.get() {
            Server::parse(&url).map_err(ApiFailure::Config)?;
        }
        let (more, preferred) = (more.clone(), AtomicUsize::new(0));
        let inner = Inner { kubeconfig, first, more, preferred, connection: tokio::sync::Mutex::default(), hollow };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins with another server than the first: so that many agents spread over all.
    pub(crate) fn prefer(&self, index: usize) {
        self.inner.preferred.store(index % self.all_servers().len(), Ordering::Relaxed);
    }

    fn all_servers(&self) -> Vec<Server> {
        servers::all(&self.inner.first, &self.inner.more.get())
    }

    /// The living connection, or a new one to the first server that answers.
    async fn connection(&self) -> Result<Connection, ApiFailure> {
        let mut slot = self.inner.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|c| !c.sender.is_closed()) {
            return Ok(connection.clone());
        }
        let servers = self.all_servers();
        let first = self.inner.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (0..servers.len()).map(|n| (first + n) % servers.len()) {
            let server = &servers[index];
            match self.connect(server).await {
                Ok((sender, authorization)) => {
                    self.inner.preferred.store(index, Ordering::Relaxed);
                    let connection = Connection { server: server.clone(), sender, authorization };
                    *slot = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => failures.push(format!("{}: {error}", server.authority())),
            }
        }
        Err(ApiFailure::Transport(failures.join("; ")))
    }

    /// Leaves a server that failed; the next request goes to the next one.
    async fn leave(&self, failed: &Connection) {
        let servers = self.all_servers();
        if let Some(at) = servers.iter().position(|server| *server == failed.server) {
            let next = (at + 1) % servers.len();
            let moved = self.inner.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
            if moved.is_ok() {
                tracing::debug!(server = %failed.server.authority(), "leaving this API server");
            }
        }
        let mut slot = self.inner.connection.lock().await;
        if slot.as_ref().is_some_and(|c| c.server == failed.server) {
            *slot = None;
        }
    }

    async fn connect(&self, server: &Server) -> Result<Opened, String> {
        let attempt = self.handshake(server);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result,
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    async fn handshake(&self, server: &Server) -> Result<Opened, String> {
        // Read again each time: certificates are renewed under a running agent.
        let access = Kubeconfig::load(&self.inner.kubeconfig)?.access()?;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(access.tls(&[b"h2"])?));
        let text = |e: std::io::Error| e.to_string();
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((server.host.as_str(), server.port)).await.map_err(text)?.collect();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let name = ServerName::try_from(server.host.clone()).map_err(|e| e.to_string())?;
        let stream = tls.connect(name, stream).await.map_err(text)?;
        let ping = if self.inner.hollow { HOLLOW_PING_EVERY } else { PING_EVERY };
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(ping)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API server ended");
            }
        });
        let authorization = match access.bearer()? {
            Some(token) => Some(HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| e.to_string())?),
            None => None,
        };
        Ok((sender, authorization))
    }

    /// How many servers there are to try.
    fn servers(&self) -> usize {
        self.all_servers().len()
    }
}
