//! The peer port: accepts connections, finds out who calls, serves them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower::util::MapResponseLayer;

use super::{
    CONNECTION_WINDOW, HANDSHAKE_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_CONNECTIONS, PeerServer,
    STREAM_WINDOW, TOO_LARGE,
};
use crate::tls::{PeerIdentity, PeerTls, identity};

/// A connection whose caller proved who it is.
struct PeerConnection {
    stream: TlsStream<TcpStream>,
    peer: PeerIdentity,
    /// Streams of peers do not end by themselves: the connection does, with the replica.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: OwnedSemaphorePermit,
}

impl Connected for PeerConnection {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for PeerConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this replica is stopping")));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves peers until `stop`; then all connections end.
pub(crate) async fn listen(
    listener: TcpListener,
    tls: Arc<PeerTls>,
    cluster: String,
    server: PeerServer,
    stop: CancellationToken,
) {
    let (accepted, incoming) = mpsc::channel(MAX_CONNECTIONS);
    let accepting = tokio::spawn(accept(listener, tls, cluster, accepted, stop.clone()));
    let rewrite: fn(http::Response<Body>) -> http::Response<Body> = |response| TOO_LARGE.rewrite(response);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(4_096)
        .layer(MapResponseLayer::new(rewrite))
        .add_service(server.service)
        .serve_with_incoming(ReceiverStream::new(incoming));
    tokio::select! {
        result = server => if let Err(error) = result {
            tracing::error!(%error, "the peer port failed");
        },
        () = stop.cancelled() => {}
    }
    accepting.abort();
}

async fn accept(
    listener: TcpListener,
    tls: Arc<PeerTls>,
    cluster: String,
    accepted: mpsc::Sender<io::Result<PeerConnection>>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let (stream, from) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, cluster, accepted, stop) = (tls.clone(), cluster.clone(), accepted.clone(), stop.clone());
        tokio::spawn(async move {
            let handshake = timeout(HANDSHAKE_TIMEOUT, handshake(stream, &tls, &cluster));
            let (stream, peer) = match stop.run_until_cancelled(handshake).await {
                Some(Ok(Ok(proved))) => proved,
                Some(Ok(Err(error))) => return tracing::warn!(%from, error, "peer connection refused"),
                Some(Err(_)) => return tracing::warn!(%from, "peer connection refused: no handshake in time"),
                None => return,
            };
            let stopped = Box::pin(stop.cancelled_owned());
            accepted.send(Ok(PeerConnection { stream, peer, stopped, _slot: slot })).await.ok();
        });
    }
}

async fn handshake(
    stream: TcpStream,
    tls: &PeerTls,
    cluster: &str,
) -> Result<(TlsStream<TcpStream>, PeerIdentity), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = TlsAcceptor::from(tls.server()).accept(stream).await.map_err(|error| error.to_string())?;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
    let peer = identity(certificate)?;
    if peer.cluster != cluster {
        return Err(format!("replica {} of cluster {:?} is not of this cluster", peer.id, peer.cluster));
    }
    Ok((stream, peer))
}
