//! Requests this server makes to others, to find out who somebody is or what they may, and to tell of it: HTTPS, one
//! connection a request, bounded in time and bytes. A redirect is an answer like any other that is not the one expected: nobody
//! is sent where only we can go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;

/// Where hosts keep the CAs they trust, in the order they are looked for.
const HOST_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Debug, Error)]
pub enum OutboundError {
    #[error("{0}")]
    Config(String),
    #[error("{url} did not answer within {seconds} s")]
    Timeout { url: String, seconds: u64 },
    #[error("cannot reach {url}: {why}")]
    Connect { url: String, why: String },
    #[error("{url} answered with more than {max} bytes, or not to the end")]
    TooLarge { url: String, max: usize },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
}

impl OutboundError {
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Status { status: 504, .. })
    }

    /// What it answered, where it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether trying again may help: upstream's `DefaultShouldRetry`, and that it could not be reached.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Status { status, .. } => matches!(status, 429 | 500 | 503 | 504),
            _ => false,
        }
    }
}

/// Who we are to the other side, and whom we believe.
#[derive(Clone, Default)]
pub struct Trust {
    /// PEM; the host's CAs when absent.
    pub ca: Option<String>,
    /// PEM of certificate and key.
    pub identity: Option<(String, String)>,
    /// The name in its certificate, where that is not the one it is reached by.
    pub server_name: Option<String>,
}

/// A client for one other side.
#[derive(Clone)]
pub struct Outbound {
    tls: Arc<rustls::ClientConfig>,
    server_name: Option<String>,
    timeout: Duration,
    max_bytes: usize,
}

fn config(error: impl std::fmt::Display) -> OutboundError {
    OutboundError::Config(error.to_string())
}

/// The CAs of a PEM text. There must be one.
pub fn roots(pem: &str) -> Result<rustls::RootCertStore, OutboundError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(config)?).map_err(config)?;
    }
    match roots.is_empty() {
        true => Err(config("data does not contain any valid RSA or ECDSA certificates")),
        false => Ok(roots),
    }
}

/// What of the host's CAs we can read.
fn host_roots() -> Result<rustls::RootCertStore, OutboundError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let all = named.into_iter().chain(HOST_BUNDLES.iter().map(PathBuf::from));
    let path = all.into_iter().find(|path| Path::exists(path));
    let path = path.ok_or_else(|| config("this host has no file of CAs: name a certificateAuthority"))?;
    let pem = std::fs::read(&path).map_err(config)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    Ok(roots)
}

impl Outbound {
    /// `timeout`: of a whole request. `max_bytes`: of an answer.
    pub fn new(trust: &Trust, timeout: Duration, max_bytes: usize) -> Result<Self, OutboundError> {
        let roots = match &trust.ca {
            Some(pem) => roots(pem)?,
            None => host_roots()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(config)?.with_root_certificates(roots);
        let tls = match &trust.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(config)?;
                builder.with_client_auth_cert(chain.map_err(config)?, key).map_err(config)?
            }
        };
        Ok(Self { tls: Arc::new(tls), server_name: trust.server_name.clone(), timeout, max_bytes })
    }

    /// The body of a 2xx.
    pub async fn get(&self, url: &str) -> Result<Bytes, OutboundError> {
        self.send(url, "GET", None, None).await
    }

    /// The same, after it was sent something.
    pub async fn post(&self, url: &str, bearer: Option<&str>, body: &Value) -> Result<Bytes, OutboundError> {
        self.post_text(url, bearer, body.to_string()).await
    }

    /// The same for JSON that is written already.
    pub async fn post_text(&self, url: &str, bearer: Option<&str>, body: String) -> Result<Bytes, OutboundError> {
        self.send(url, "POST", bearer, Some(body)).await
    }

    async fn send(
        &self,
        url: &str,
        method: &str,
        bearer: Option<&str>,
        body: Option<String>,
    ) -> Result<Bytes, OutboundError> {
        let done = tokio::time::timeout(self.timeout, self.exchange(url, method, bearer, body)).await;
        done.unwrap_or_else(|_| Err(OutboundError::Timeout { url: url.to_owned(), seconds: self.timeout.as_secs() }))
    }

    async fn exchange(
        &self,
        url: &str,
        method: &str,
        bearer: Option<&str>,
        body: Option<String>,
    ) -> Result<Bytes, OutboundError> {
        let failed = |why: &dyn std::fmt::Display| OutboundError::Connect { url: url.to_owned(), why: why.to_string() };
        let uri: http::Uri = url.parse().map_err(config)?;
        let request = request(&uri, method, bearer, body)?;
        let stream = self.connect(&uri).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            driver.abort();
            return Err(OutboundError::Status { url: url.to_owned(), status });
        }
        let body = Limited::new(answer.into_body(), self.max_bytes).collect().await;
        driver.abort();
        let too_large = |_| OutboundError::TooLarge { url: url.to_owned(), max: self.max_bytes };
        Ok(body.map_err(too_large)?.to_bytes())
    }

    async fn connect(&self, uri: &http::Uri) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
        let name = self.server_name.clone().unwrap_or(host);
        let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
        tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, stream).await
    }
}

fn request(
    uri: &http::Uri,
    method: &str,
    bearer: Option<&str>,
    body: Option<String>,
) -> Result<http::Request<Full<Bytes>>, OutboundError> {
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
    let authority = authority.ok_or_else(|| config(format!("{uri}: URL scheme must be https")))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::builder().method(method).uri(path).header("host", authority.as_str());
    request = request.header("accept", "application/json").header("user-agent", "kontiki");
    if let Some(bearer) = bearer {
        let value = http::HeaderValue::from_str(&format!("Bearer {bearer}"));
        // The error would show the token.
        let mut value = value.map_err(|_| config("the token for the other side cannot stand in a header"))?;
        value.set_sensitive(true);
        request = request.header("authorization", value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    request.body(body.map(Bytes::from).map(Full::new).unwrap_or_default()).map_err(config)
}
