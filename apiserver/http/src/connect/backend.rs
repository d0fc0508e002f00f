//! Connections to kubelets, pods and services, and the tunnel of an upgraded request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::error::Result;
use api_machinery::{ApiError, Reason};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ServerConfig;
use crate::connect::headers;
use crate::metrics::LongRunning;
use crate::negotiate::Output;
use crate::respond::{self, Body, BoxError, Response};
use crate::serve::either;
use crate::state::State;

/// From dialling to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of a backend's refusal (bytes).
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Our client certificate, their certificate checked against the kubelet CA.
    Kubelet,
    /// Our client certificate, theirs not checked: `insecureSkipTLSVerifyBackend`. Over TLS the certificate
    /// gives nothing away.
    KubeletUnchecked,
    /// No certificate of ours, theirs not checked: `https:` pods and services, as upstream.
    TlsUnchecked,
    Plain,
}

impl Transport {
    /// Whether our client certificate is presented.
    fn is_kubelet(self) -> bool {
        matches!(self, Transport::Kubelet | Transport::KubeletUnchecked)
    }
}

/// TLS configurations towards backends.
pub(crate) struct Backends {
    kubelet: Arc<ClientConfig>,
    kubelet_unchecked: Arc<ClientConfig>,
    unchecked: Arc<ClientConfig>,
    /// Where this server listens: never connected to with the kubelet client certificate.
    own: SocketAddr,
}

/// Accepts any certificate; the signature must still be made with its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn bad_gateway(what: &str, error: impl std::fmt::Display) -> ApiError {
    ApiError::new(502, Reason::Unknown, format!("error trying to reach {what}: {error}"))
}

impl Backends {
    pub(crate) fn new(config: &ServerConfig) -> std::io::Result<Self> {
        let identity = (config.kubelet_client_certificate.as_path(), config.kubelet_client_key.as_path());
        let kubelet = pki::reload::client_config(&config.kubelet_ca, Some(identity), &[b"http/1.1"])
            .map_err(std::io::Error::other)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Unchecked(provider.clone()));
        let mut kubelet_unchecked = (*kubelet).clone();
        kubelet_unchecked.dangerous().set_certificate_verifier(verifier.clone());
        let mut unchecked = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        unchecked.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            kubelet,
            kubelet_unchecked: Arc::new(kubelet_unchecked),
            unchecked: Arc::new(unchecked),
            own: config.listen,
        })
    }

    /// A Node may not point our kubelet credentials back at an API server: at this one, or at another replica's.
    async fn check(&self, state: &State, address: SocketAddr, transport: Transport) -> Result<()> {
        if !transport.is_kubelet() {
            return Ok(());
        }
        let members = state.server.registry.store.status().members;
        let urls = members.iter().filter_map(|member| member.api_url.strip_prefix("https://"));
        let mut all = Vec::new();
        for host in urls {
            all.extend(addresses(host.trim_end_matches('/')).await);
        }
        match is_listened_on(address, self.own) || all.contains(&address) {
            true => Err(not_allowed()),
            false => Ok(()),
        }
    }

    /// Sends a request on a new connection. Redirects are answers like any other: never followed.
    pub(crate) async fn send(
        &self,
        state: &State,
        address: SocketAddr,
        transport: Transport,
        request: Request<Body>,
    ) -> Result<http::Response<Incoming>> {
        self.check(state, address, transport).await?;
        let config = match transport {
            Transport::Kubelet => Some(&self.kubelet),
            Transport::KubeletUnchecked => Some(&self.kubelet_unchecked),
            Transport::TlsUnchecked => Some(&self.unchecked),
            Transport::Plain => None,
        };
        let connecting = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            match config {
                None => Ok::<Box<dyn Stream>, std::io::Error>(Box::new(tcp)),
                Some(config) => {
                    let name = ServerName::from(address.ip());
                    let tls = TlsConnector::from(config.clone()).connect(name, tcp).await?;
                    if transport.is_kubelet() {
                        check_peer(tls.get_ref().1.peer_certificates())?;
                    }
                    Ok(Box::new(tls) as Box<dyn Stream>)
                }
            }
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(stream) => stream.map_err(|error| bad_gateway(&address.to_string(), error))?,
            Err(_) => return Err(bad_gateway(&address.to_string(), "connection timed out")),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| bad_gateway(&address.to_string(), error))?;
        let abort = state.abort.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = abort.cancelled() => (),
                done = connection.with_upgrades() => if let Err(error) = done {
                    tracing::debug!(%address, %error, "connection to a backend ended");
                },
            }
        });
        sender.send_request(request).await.map_err(|error| bad_gateway(&address.to_string(), error))
    }
}

/// Whether connecting to an address reaches a listener of this machine.
fn is_listened_on(address: SocketAddr, own: SocketAddr) -> bool {
    let same_host = address.ip() == own.ip() || own.ip().is_unspecified() || address.ip().is_loopback();
    address.port() == own.port() && same_host
}

/// How long a name may take to be looked up; after that it stands for nothing.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// The addresses that `HOST:PORT` stands for.
async fn addresses(host: &str) -> Vec<SocketAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(host)).await {
        Ok(Ok(found)) => found.collect(),
        _ => Vec::new(),
    }
}

fn not_allowed() -> ApiError {
    ApiError::bad_request("address not allowed")
}

/// What API servers are certified for, and kubelets are not: an API server is known by it at whichever of its
/// addresses a Node points there.
const API_SERVER: &str = "kubernetes.default.svc";

/// Refuses an API server at the other end, before anything is said to it.
fn check_peer(certificates: Option<&[CertificateDer<'_>]>) -> std::io::Result<()> {
    let certificate = certificates.and_then(<[_]>::first);
    match certificate.is_some_and(|der| pki::names::is_for_host(der, API_SERVER)) {
        true => Err(std::io::Error::other("an API server answers where a kubelet should")),
        false => Ok(()),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A request of our own making to a backend.
pub(crate) fn request(
    method: Method,
    address: SocketAddr,
    target: &str,
    headers: HeaderMap,
    body: Body,
) -> Result<Request<Body>> {
    let uri: Uri = target.parse().map_err(|error| ApiError::bad_request(format!("invalid proxy path: {error}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&address.to_string()).map_err(ApiError::internal)?;
    request.headers_mut().insert(http::header::HOST, host);
    Ok(request)
}

/// A backend's body on its way to the client.
pub(crate) fn passed(body: Incoming) -> Body {
    body.map_err(|error| Box::new(error) as BoxError).boxed_unsync()
}

/// The text of a refusal, bounded.
pub(crate) async fn refusal_text(body: Incoming) -> String {
    match Limited::new(body, MAX_ERROR_BYTES).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    }
}

/// Passes an upgrade on: the client's connection is switched only when the backend has switched, and then
/// both are copied until either ends. Any other answer is the answer; nothing is forwarded after it.
pub(crate) async fn tunnel(
    state: &Arc<State>,
    mut client: Request<Incoming>,
    address: SocketAddr,
    transport: Transport,
    target: &str,
    counted: LongRunning,
) -> Result<Response> {
    let Some(protocol) = headers::upgrade(client.headers()) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let mut own = headers::for_backend(client.headers());
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    own.insert(UPGRADE, HeaderValue::from_static(protocol));
    let method = client.method().clone();
    let outgoing = request(method, address, target, own, respond::full(""))?;
    let mut answer = state.backends.send(state, address, transport, outgoing).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refused(answer).await);
    }
    let switched = answer.headers().get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !switched.eq_ignore_ascii_case(protocol) {
        return Ok(closing(&bad_gateway(&address.to_string(), "it switched to another protocol")));
    }
    let mut response = http::Response::new(respond::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    let (client, backend) = (hyper::upgrade::on(&mut client), hyper::upgrade::on(&mut answer));
    let end = either(&state.stop, &state.abort);
    state.tasks.spawn(async move {
        let _counted = counted;
        let copied = async {
            let (client, backend) = tokio::try_join!(client, backend).map_err(std::io::Error::other)?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await
        };
        tokio::select! {
            () = end => (),
            done = copied => if let Err(error) = done {
                tracing::debug!(%address, %error, "tunnel ended");
            },
        }
    });
    Ok(response)
}

/// A backend that does not switch: its refusal, never a redirect, and the end of the client's connection.
async fn refused(answer: http::Response<Incoming>) -> Response {
    let code = answer.status().as_u16();
    let text = refusal_text(answer.into_body()).await;
    let error = match code {
        400..=599 if text.is_empty() => ApiError::new(code, reason_of(code), format!("the backend answered {code}")),
        400..=599 => ApiError::new(code, reason_of(code), text),
        _ => ApiError::new(502, Reason::Unknown, format!("the backend answered {code} to an upgrade request")),
    };
    closing(&error)
}

/// What comes behind an upgrade that failed may not be a request: the end of the client's connection.
fn closing(error: &ApiError) -> Response {
    let mut response = respond::error(&Output::default(), error);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `Status.reason` for a code that a backend chose.
pub(crate) fn reason_of(code: u16) -> Reason {
    match code {
        400 => Reason::BadRequest,
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        409 => Reason::Conflict,
        429 => Reason::TooManyRequests,
        500 => Reason::InternalError,
        503 => Reason::ServiceUnavailable,
        504 => Reason::Timeout,
        _ => Reason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn own_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (to, own, is) in [
            ("10.0.0.1:6443", "10.0.0.1:6443", true),
            ("10.0.0.2:6443", "10.0.0.1:6443", false),
            ("10.0.0.2:6443", "0.0.0.0:6443", true),
            ("127.0.0.1:6443", "10.0.0.1:6443", true),
            ("10.0.0.1:10250", "10.0.0.1:6443", false),
        ] {
            assert_eq!(is_listened_on(address(to), address(own)), is, "{to} {own}");
        }
        assert_eq!(addresses("10.0.0.7:6444").await, [address("10.0.0.7:6444")]);
        assert!(addresses("localhost:6444").await.contains(&address("127.0.0.1:6444")));
        assert_eq!(addresses("no such name").await, []);
    }

    #[test]
    fn an_api_server_is_known_by_its_certificate() {
        let now = "2026-11-22T00:00:00Z".parse().expect("a time");
        let authority = pki::authority::Authority::create("ca", now).expect("a CA");
        let der = |name: &str| {
            let request = pki::authority::Request {
                common_name: "x".into(),
                dns_names: vec![name.into()],
                server: true,
                days: 1,
                ..pki::authority::Request::default()
            };
            let pem = authority.issue(&request, now).expect("issues").certificate_pem;
            let mut all = rustls::pki_types::pem::PemObject::pem_slice_iter(pem.as_bytes());
            let first: CertificateDer<'static> = all.next().expect("one").expect("PEM");
            first
        };
        assert!(check_peer(Some(&[der("kubernetes.default.svc")])).is_err());
        assert!(check_peer(Some(&[der("node-1")])).is_ok() && check_peer(None).is_ok());
    }
}
