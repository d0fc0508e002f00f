//! The port for clients: accepts connections with a certificate of the client CA, and serves them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::etcd::auth_server::AuthServer;
use kontiki_proto::etcd::cluster_server::ClusterServer;
use kontiki_proto::etcd::kv_server::KvServer;
use kontiki_proto::etcd::lease_server::LeaseServer;
use kontiki_proto::etcd::maintenance_server::MaintenanceServer;
use kontiki_proto::etcd::watch_server::WatchServer;
use store_api::{DynAdmin, DynStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::util::MapResponseLayer;

use crate::auth::AuthService;
use crate::cluster::ClusterService;
use crate::connection::Connection;
use crate::face::Face;
use crate::kv::KvService;
use crate::lease::LeaseService;
use crate::limits::{
    HANDSHAKE_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_CONNECTIONS, MAX_MESSAGE_BYTES, MAX_STREAMS,
    TLS_TICK, TOO_LARGE,
};
use crate::maintenance::MaintenanceService;
use crate::tls::ClientTls;
use crate::watch::WatchService;
use crate::{EtcdConfig, EtcdError};

/// After the stop, calls that are under way may take this long.
const GRACE: Duration = Duration::from_secs(2);
/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What etcd's clients speak.
const GRPC: &str = "h2";
/// What visitors speak.
const HTTP1: &str = "http/1.1";

/// One replica's face, listening.
pub struct EtcdServer {
    listener: TcpListener,
    tls: Arc<ClientTls>,
    config: EtcdConfig,
    visitors: Option<mpsc::Sender<Visitor>>,
}

/// Somebody with a certificate of the client CA who does not want etcd's API, but HTTP/1.1, as TLS was told.
pub struct Visitor {
    /// DER.
    pub certificate: Vec<u8>,
    pub stream: Connection<TlsStream<TcpStream>>,
}

impl EtcdServer {
    /// Reads the TLS files and takes the port; connections wait until [`Self::serve`].
    ///
    /// # Errors
    /// Files that cannot be used, a port that cannot be had.
    pub async fn bind(config: EtcdConfig) -> Result<Self, EtcdError> {
        let tls = ClientTls::load(&config, &[GRPC]).map_err(EtcdError::Tls)?;
        let addr = config.listen;
        let listener = TcpListener::bind(addr).await.map_err(|source| EtcdError::Listen { addr, source })?;
        Ok(Self { listener, tls, config, visitors: None })
    }

    /// Lets visitors in, for whoever serves them.
    ///
    /// # Errors
    /// Files that cannot be used any more.
    pub fn with_visitors(mut self, visitors: mpsc::Sender<Visitor>) -> Result<Self, EtcdError> {
        self.tls = ClientTls::load(&self.config, &[GRPC, HTTP1]).map_err(EtcdError::Tls)?;
        self.visitors = Some(visitors);
        Ok(self)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.config.listen)
    }

    /// Serves until `stop`; then streams end and calls that are under way get a moment.
    pub async fn serve(self, store: DynStore, admin: DynAdmin, stop: CancellationToken) {
        let (accepted, incoming) = mpsc::channel(MAX_CONNECTIONS);
        let ways = Ways { clients: accepted, visitors: self.visitors };
        let (reloading, accepting) = (self.tls.clone(), stop.clone());
        let face = Face::new(store, admin, self.config, stop.clone());
        let accepting = tokio::spawn(async move {
            accepting.run_until_cancelled(accept(self.listener, self.tls, ways)).await;
        });
        let reloading = tokio::spawn(reload(reloading));
        // Boxed: the whole of it is deep.
        let served: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(
            router(&face).serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.clone().cancelled_owned()),
        );
        tokio::select! {
            result = served => if let Err(error) = result {
                tracing::error!(%error, "the port for etcd's clients failed");
            },
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
        }
        accepting.abort();
        reloading.abort();
    }
}

type Layers = tower::layer::util::Stack<MapResponseLayer<Rewrite>, tower::layer::util::Identity>;
type Rewrite = fn(http::Response<tonic::body::Body>) -> http::Response<tonic::body::Body>;

fn router(face: &Arc<Face>) -> tonic::transport::server::Router<Layers> {
    let rewrite: Rewrite = |response| TOO_LARGE.rewrite(response);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_adaptive_window(Some(true))
        .max_concurrent_streams(MAX_STREAMS)
        .layer(MapResponseLayer::new(rewrite))
        .add_service(KvServer::new(KvService(face.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(WatchServer::new(WatchService(face.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(LeaseServer::new(LeaseService(face.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(ClusterServer::new(ClusterService(face.clone())))
        .add_service(MaintenanceServer::new(MaintenanceService(face.clone())))
        .add_service(AuthServer::new(AuthService(face.clone())))
}

async fn reload(tls: Arc<ClientTls>) {
    loop {
        tokio::time::sleep(TLS_TICK).await;
        let tls = tls.clone();
        // A panic in it would be a bug; the files stay as they were.
        tokio::task::spawn_blocking(move || tls.reload()).await.ok();
    }
}

/// Where connections go.
#[derive(Clone)]
struct Ways {
    clients: mpsc::Sender<io::Result<Connection<TlsStream<TcpStream>>>>,
    visitors: Option<mpsc::Sender<Visitor>>,
}

impl Ways {
    /// Whoever does not take it any more is about to end.
    async fn send(self, stream: TlsStream<TcpStream>, slot: OwnedSemaphorePermit) {
        let (_, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
        let is_visitor = tls.alpn_protocol() == Some(HTTP1.as_bytes());
        let stream = Connection::new(stream, slot);
        match (self.visitors.filter(|_| is_visitor), certificate) {
            (Some(visitors), Some(certificate)) => drop(visitors.send(Visitor { certificate, stream }).await),
            _ => drop(self.clients.send(Ok(stream)).await),
        }
    }
}

async fn accept(listener: TcpListener, tls: Arc<ClientTls>, ways: Ways) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let (stream, from) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, ways) = (tls.clone(), ways.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake(stream, &tls)).await {
                Ok(Ok(stream)) => ways.send(stream, slot).await,
                Ok(Err(error)) => tracing::debug!(%from, %error, "a client was refused"),
                Err(_) => tracing::debug!(%from, "a client was refused: no handshake in time"),
            }
        });
    }
}

async fn handshake(stream: TcpStream, tls: &ClientTls) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    TlsAcceptor::from(tls.server()).accept(stream).await
}
