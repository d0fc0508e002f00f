//! Connections: TLS, HTTP/2 or HTTP/1.1 by ALPN, and the graceful stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::UserInfo;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pki::reload::ClientTrust;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::chain::{self, Client, FrontProxy, Peer};
use crate::respond::{self, Response};
use crate::state::State;

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;
/// Bytes that are encrypted before they are sent. With what TLS adds they are one segment for the kernel, which sends
/// 64 KiB with their headers at once; four whole records are one and a very small one.
const SENT_AT_ONCE: usize = 64_000;
/// From accept to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first wait for a request to the end of its headers, on HTTP/1.1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Header bytes of one request.
const MAX_HEADER_BYTES: usize = 256 * 1024;
const MAX_HEADERS: usize = 256;
/// Streams at once on a connection that came with a client certificate: upstream's number, wanted by
/// kubelets, which hold one watch per Secret and ConfigMap on one connection.
const MAX_STREAMS: u32 = 250;
/// The same for connections without one.
const MAX_STREAMS_WITHOUT_CERTIFICATE: u32 = 100;
/// A connection on which nothing comes back to a ping is dropped after interval and timeout.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open requests may take to finish once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// How long requests whose connections are gone may take to close their audit.
const AUDIT_GRACE: Duration = Duration::from_secs(2);
/// How long records may take to reach their webhook once the server stops.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);

/// Accepts until `state.stop`, then lets open requests finish.
pub(crate) async fn run(state: Arc<State>, listener: TcpListener, tls: Arc<ServerConfig>, trust: Trust) {
    let (acceptor, trust) = (TlsAcceptor::from(tls), Arc::new(trust));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = state.stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        if let Some((tcp, address, slot)) = accepted {
            let opening = Opening { acceptor: acceptor.clone(), trust: trust.clone(), tcp, address };
            state.tasks.spawn(connection(state.clone(), opening, slot));
        }
    }
    drop(listener);
    finish(&state).await;
}

async fn finish(state: &State) {
    state.tasks.close();
    if tokio::time::timeout(GRACE, state.tasks.wait()).await.is_err() {
        tracing::warn!(open = state.tasks.len(), "connections are still open after the grace period");
        state.abort.cancel();
        state.tasks.wait().await;
    }
    end_audit(state).await;
}

/// Everything that was asked has been answered, or never will be: its records are handed over.
async fn end_audit(state: &State) {
    let Some(auditor) = &state.server.audit else { return };
    state.trails.close();
    if tokio::time::timeout(AUDIT_GRACE, state.trails.wait()).await.is_err() {
        tracing::warn!(open = state.trails.len(), "requests are still audited after the grace period");
    }
    auditor.shutdown(AUDIT_PATIENCE).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, address)) => Some((tcp, address, slot)),
        Err(error) => {
            // Out of file descriptors or the like: pause, so that the loop does not spin.
            tracing::warn!(error = %error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Whose certificates say something.
pub(crate) struct Trust {
    pub clients: ClientTrust,
    /// `None`: there are no front proxies.
    pub front_proxies: Option<ClientTrust>,
}

/// A connection that was accepted.
struct Opening {
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
    tcp: TcpStream,
    address: SocketAddr,
}

async fn connection(state: Arc<State>, opening: Opening, slot: OwnedSemaphorePermit) {
    let Opening { acceptor, trust, tcp, address } = opening;
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
    }
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp));
    let mut tls = tokio::select! {
        () = state.stop.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                metrics::counter!("apiserver_tls_handshake_errors_total").increment(1);
                return tracing::debug!(%address, %error, "TLS handshake failed");
            }
            Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
        },
    };
    tls.get_mut().1.set_buffer_limit(Some(SENT_AT_ONCE));
    let session = tls.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let client = client(&trust.clients, chain, address);
    let front_proxy = front_proxy(&state, &trust, chain);
    let keeps_the_cluster = keeps_the_cluster(&client);
    let peer = Arc::new(Peer { client, address, front_proxy, close: state.stop.child_token() });
    let served = serve(state.clone(), peer, tls, slot);
    match keeps_the_cluster {
        true => served.await,
        false => drop(state.tasks.spawn_on(served, &state.server.crowd)),
    }
}

async fn serve(state: Arc<State>, peer: Arc<Peer>, tls: TlsStream<TcpStream>, _slot: OwnedSemaphorePermit) {
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let done = if h2 { serve_h2(&state, &peer, tls).await } else { serve_h1(&state, &peer, tls).await };
    if let Err(error) = done {
        tracing::debug!(address = %peer.address, %error, "connection ended");
    }
}

/// Nodes, standard schedulers and controller managers, and administrators, who are wanted when all others ask too much.
fn keeps_the_cluster(client: &Client) -> bool {
    let Client::Certified(certificate) = client else { return false };
    let Some(user) = api_auth::authn::x509::user_of(certificate) else { return false };
    user.is_in("system:nodes") || user.is_in(UserInfo::MASTERS) || user.name.starts_with("system:kube-")
}

fn client(trust: &ClientTrust, chain: &[CertificateDer<'_>], address: SocketAddr) -> Client {
    let Some(certificate) = chain.first() else { return Client::Stranger };
    match trust.check(chain) {
        Ok(()) => Client::Certified(certificate.to_vec()),
        Err(error) => {
            tracing::debug!(%address, error, "a client certificate is not trusted");
            Client::Refused
        }
    }
}

/// A certificate of the front proxies' CA, with a name that may be one.
fn front_proxy(state: &State, trust: &Trust, chain: &[CertificateDer<'_>]) -> FrontProxy {
    let (Some(config), Some(trust), Some(certificate)) =
        (&state.server.config.front_proxy, &trust.front_proxies, chain.first())
    else {
        return FrontProxy::No;
    };
    let name = api_auth::authn::x509::common_name(certificate).unwrap_or_default();
    match trust.check(chain).is_ok() && config.headers.allows(&name) {
        true => FrontProxy::Yes,
        false => FrontProxy::No,
    }
}

type Answer = Result<Response, Infallible>;

fn service(
    state: &Arc<State>,
    peer: &Arc<Peer>,
) -> impl Fn(Request<Incoming>) -> futures::future::BoxFuture<'static, Answer> {
    let (state, peer) = (state.clone(), peer.clone());
    move |request| {
        let (state, peer) = (state.clone(), peer.clone());
        Box::pin(async move {
            match misnamed(&request) {
                Some(why) => Ok(refused(why)),
                None => Ok(chain::handle(state, peer, request).await),
            }
        })
    }
}

/// HTTP/1.1 names the host that is asked once: who does it otherwise may be read in two ways.
fn misnamed(request: &Request<Incoming>) -> Option<&'static str> {
    let hosts = request.headers().get_all(HOST).iter().count();
    match hosts {
        _ if request.version() != Version::HTTP_11 => None,
        0 => Some("missing required Host header"),
        1 => None,
        _ => Some("too many Host headers"),
    }
}

/// In Go's words, before anybody knows what is asked. The connection ends.
fn refused(why: &str) -> Response {
    let mut response = respond::text(400, format!("400 Bad Request: {why}"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn serve_h2(state: &Arc<State>, peer: &Arc<Peer>, tls: TlsStream<TcpStream>) -> hyper::Result<()> {
    let streams =
        if matches!(peer.client, Client::Certified(_)) { MAX_STREAMS } else { MAX_STREAMS_WITHOUT_CERTIFICATE };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(tls), service_fn(service(state, peer))));
    let mut closing = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => return done,
            () = peer.close.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = state.abort.cancelled() => return Ok(()),
        }
    }
}

async fn serve_h1(state: &Arc<State>, peer: &Arc<Peer>, tls: TlsStream<TcpStream>) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let io = TokioIo::new(tls);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service_fn(service(state, peer))).with_upgrades());
    let mut closing = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => return done,
            () = peer.close.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = state.abort.cancelled() => return Ok(()),
        }
    }
}

/// A token that is cancelled with either of two.
pub(crate) fn either(one: &CancellationToken, other: &CancellationToken) -> impl Future<Output = ()> + Send + 'static {
    let (one, other) = (one.clone(), other.clone());
    async move {
        tokio::select! {
            () = one.cancelled() => (),
            () = other.cancelled() => (),
        }
    }
}
