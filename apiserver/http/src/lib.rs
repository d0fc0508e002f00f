//! The HTTPS face: TLS, routing, the request chain, discovery, OpenAPI, negotiation, and streaming
//! to kubelets.

mod audit;
mod authorize;
mod body;
mod chain;
mod connect;
mod deprecated;
mod discovery;
mod flow;
mod health;
mod impersonate;
mod inflight;
mod list;
pub mod metrics;
mod negotiate;
mod nonresource;
mod openapi;
mod openapi_protobuf;
mod options;
mod path;
mod query;
mod request_info;
mod resources;
mod respond;
mod review_validation;
mod reviews;
mod serve;
mod served;
mod slis;
mod state;
mod warnings;
mod watch;
mod websocket;
mod zpages;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use api_audit::Auditor;
use api_auth::authn::Authenticator;
use api_auth::authn::request_header::RequestHeaders;
use api_auth::authz::Authorizer;
use api_registry::Registry;
pub use flow::FlowConfig;
use tokio_util::sync::CancellationToken;

pub struct ServerConfig {
    pub listen: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    /// Who may say in headers whom a request is from.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Presented to kubelets (`system:kube-apiserver` client certificate) and their CA.
    pub kubelet_client_certificate: PathBuf,
    pub kubelet_client_key: PathBuf,
    pub kubelet_ca: PathBuf,
    /// `https://...` written to discovery (`serverAddressByClientCIDRs`).
    pub advertise_url: String,
    /// What `/flagz` shows, by name. Nothing secret.
    pub flags: Vec<(String, String)>,
}

/// Upstream's `--requestheader-*`.
pub struct FrontProxyConfig {
    /// Of the certificates that front proxies show; read again when it changes.
    pub ca: PathBuf,
    pub headers: RequestHeaders,
}

/// One check of `/readyz` and friends.
pub trait HealthCheck: Send + Sync {
    fn name(&self) -> &str;
    /// `Err`: why not.
    fn check(&self) -> Result<(), String>;
}

pub struct Server {
    pub config: ServerConfig,
    pub registry: Arc<Registry>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// `None`: nothing is audited.
    pub audit: Option<Arc<Auditor>>,
    pub flow: FlowConfig,
    /// Serves the connections of everybody but nodes and the control plane: those have the caller's runtime, with the
    /// store and the leases, for themselves, however much is asked on these.
    pub crowd: tokio::runtime::Handle,
    pub ready_checks: Vec<Box<dyn HealthCheck>>,
    pub live_checks: Vec<Box<dyn HealthCheck>>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// JSON of `/kontiki/v1/status` (`kontiki status`).
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// POST handlers below `/kontiki/v1/` (join, ...), already authenticated: path tail, user, body -> answer.
    pub admin: Option<Arc<dyn AdminApi>>,
}

/// What `kontiki server` adds to the API below `/kontiki/v1/`.
#[async_trait::async_trait]
pub trait AdminApi: Send + Sync {
    async fn call(
        &self,
        path: &str,
        user: &api_machinery::UserInfo,
        body: serde_json::Value,
    ) -> Result<serde_json::Value, api_machinery::ApiError>;

    /// Paths that are answered with bytes, however many; `None` for all others.
    async fn download(
        &self,
        _path: &str,
        _user: &api_machinery::UserInfo,
    ) -> Option<Result<Download, api_machinery::ApiError>> {
        None
    }
}

/// Bytes to send as they come. An error ends the connection before the end is reached.
pub struct Download {
    pub bytes: u64,
    pub content: futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>,
}

impl Server {
    /// Serves until `stop`; then /readyz fails, watches end, open requests finish within the grace period.
    /// Fails when a certificate cannot be read or the address cannot be listened on.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(self.config.listen).await?;
        self.serve_on(listener, stop).await
    }

    /// [`Self::serve`] on a socket that is already bound; `config.listen` is only compared with, then.
    pub async fn serve_on(self, listener: tokio::net::TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let config = &self.config;
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let (tls, clients) =
            pki::reload::lenient_server_config(&config.certificate, &config.key, &config.client_ca, &alpn)
                .map_err(std::io::Error::other)?;
        let front_proxies = config.front_proxy.as_ref().map(|front| pki::reload::client_trust(&front.ca));
        let front_proxies = front_proxies.transpose().map_err(std::io::Error::other)?;
        let state = state::State::new(self, stop)?;
        tokio::spawn(flow::run(state.clone()));
        serve::run(state, listener, tls, serve::Trust { clients, front_proxies }).await;
        Ok(())
    }
}
