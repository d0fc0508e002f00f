//! A small HTTPS client for the admin commands and `up`: one connection a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;

use crate::Failure;
use crate::exchange::Server;
use crate::kubeconfig::Kubeconfig;

/// Answers larger than this are refused.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub(crate) struct Client {
    tls: Arc<rustls::ClientConfig>,
    pub(crate) server: String,
    bearer: Option<String>,
    timeout: Duration,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.body)?)
    }
    /// The object, or the message of the `Status`.
    pub(crate) fn ok(&self) -> Result<Value, Failure> {
        let value = self.json().unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into_owned().into());
        if self.status < 300 {
            return Ok(value);
        }
        let message = value["message"].as_str().or(value.as_str()).unwrap_or("no message");
        Err(format!("the server answered {}: {message}", self.status).into())
    }
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Client {
    /// With the identity of a kubeconfig.
    pub(crate) fn new(kubeconfig: &Kubeconfig) -> Result<Self, Failure> {
        let certificates = certificates(&kubeconfig.certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(kubeconfig.key_pem.as_bytes())?;
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&kubeconfig.ca_pem)?)
            .with_client_auth_cert(certificates, key)?;
        Ok(Self::with(config, &kubeconfig.server, None))
    }

    /// With a bearer token, the server checked against a CA.
    pub(crate) fn with_token(server: &str, ca_pem: &str, bearer: &str) -> Result<Self, Failure> {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_pem)?)
            .with_no_client_auth();
        Ok(Self::with(config, server, Some(bearer.to_owned())))
    }

    /// Without checking the server: only for fetching what is then checked by hash. Sends no secret.
    pub(crate) fn unverified(server: &str) -> Result<Self, Failure> {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
            .with_no_client_auth();
        Ok(Self::with(config, server, None))
    }

    fn with(mut config: rustls::ClientConfig, server: &str, bearer: Option<String>) -> Self {
        // A store serves etcd's clients, who speak HTTP/2, on the same port.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = server.trim_end_matches('/').to_owned();
        Self { tls: Arc::new(config), server, bearer, timeout: Duration::from_secs(10) }
    }

    /// The same identity towards another server.
    pub(crate) fn at(&self, server: &str) -> Self {
        let server = server.trim_end_matches('/').to_owned();
        Self { tls: self.tls.clone(), server, bearer: self.bearer.clone(), timeout: self.timeout }
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.send("POST", path, Some(body)).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await;
        answer.map_err(|_| format!("{} did not answer within {} s", self.server, self.timeout.as_secs()))?
    }

    /// An answer of any length, read as it comes; `patience` is until it begins. `Err` with the message of the
    /// `Status` when it is none.
    pub(crate) async fn download(&self, path: &str, patience: Duration) -> Result<Download, Failure> {
        let begun = tokio::time::timeout(patience, self.open("POST", path, None)).await;
        let answer = begun.map_err(|_| format!("{} did not answer within {} s", self.server, patience.as_secs()))??;
        if answer.status() != 200 {
            return Err(collect(answer).await?.ok().err().unwrap_or_else(|| "an unexpected answer".into()));
        }
        Download::of(answer)
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        collect(self.open(method, path, body).await?).await
    }

    async fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        let uri: http::Uri = format!("{}{path}", self.server).parse()?;
        let authority = uri.authority().ok_or("the server address has no host")?;
        let server = Server { host: authority.host(), port: authority.port_u16().unwrap_or(443), tls: Some(&self.tls) };
        let mut request = http::Request::builder().method(method).uri(path).header("host", authority.as_str());
        request = request.header("accept", "application/json").header("user-agent", "kontiki");
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        server.ask(request.body(Full::new(Bytes::from(bytes)))?).await
    }
}

async fn collect(answer: http::Response<hyper::body::Incoming>) -> Result<Answer, Failure> {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    Ok(Answer { status, body })
}

/// An answer that is being read.
pub(crate) struct Download {
    /// In all.
    pub(crate) bytes: u64,
    body: hyper::body::Incoming,
}

/// A server that sends nothing for so long sends nothing more.
const SILENCE: Duration = Duration::from_secs(60);

impl Download {
    pub(crate) fn of(answer: http::Response<hyper::body::Incoming>) -> Result<Self, Failure> {
        let bytes = answer.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = bytes.ok_or("the server does not say how much it sends")?;
        Ok(Self { bytes, body: answer.into_body() })
    }

    /// The next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            match frame.map_err(|_| format!("the server sent nothing for {} s", SILENCE.as_secs()))?.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Ok(CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?)
}

pub(crate) fn roots(pem: &str) -> Result<rustls::RootCertStore, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Accepts every server: see [`Client::unverified`].
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
