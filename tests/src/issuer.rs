//! Somebody who signs tokens, and somebody who publishes the keys for it: an issuer of ID tokens over HTTPS, which may
//! misbehave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use pki::authority::CertifiedKey;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client;

/// How long one that says nothing says nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// More than anybody should read of an answer (bytes).
const HUGE: usize = 8 << 20;

/// Whom its tokens are for.
pub const AUDIENCE: &str = "kubernetes";

/// Seconds since 1970.
pub fn now() -> i64 {
    client::now().as_second()
}

/// The parts of a JWT up to its signature.
pub fn unsigned(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(head), part(claims))
}

/// A key that signs JWTs, whatever they say.
pub struct Signer {
    pair: KeyPair,
    key: EcdsaKeyPair,
}

impl Signer {
    /// A new key.
    pub fn generate() -> Self {
        Self::of(KeyPair::generate().expect("a key"))
    }

    /// A key that somebody else has, too.
    pub fn from_pem(pem: &str) -> Self {
        Self::of(KeyPair::from_pem(pem).expect("a private key"))
    }

    fn of(pair: KeyPair) -> Self {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der());
        Self { key: key.expect("a key of P-256"), pair }
    }

    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// In a key set, by this name.
    pub fn jwk(&self, kid: &str) -> Value {
        // An uncompressed point: 4, 32 bytes x, 32 bytes y.
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&self.pair.der_bytes()[range]);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid,
            "x": part(1..33), "y": part(33..65)})
    }

    pub fn sign(&self, head: &Value, claims: &Value) -> String {
        let signed = unsigned(head, claims);
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What an issuer does wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    Nothing,
    /// Sends whoever asks to this URL.
    Redirects(String),
    /// Its key set has no end.
    Huge,
    /// Takes the request and never answers.
    Silent,
    /// Says that it is this one.
    Lies(String),
}

struct Shown {
    url: String,
    keys: Value,
    fault: Mutex<Fault>,
    asked: AtomicUsize,
}

/// With a discovery document and a key over HTTPS.
pub struct Issuer {
    pub url: String,
    pub ca_file: PathBuf,
    pub ca_pem: String,
    pub signer: Signer,
    shown: Arc<Shown>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Issuer {
    /// Its CA is put into a file in this directory.
    pub fn start(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tls_key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&tls_key).expect("a certificate");
        let own = CertifiedKey { certificate_pem: certificate.pem(), key_pem: tls_key.serialize_pem() };

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let (url, signer) = (format!("https://{address}"), Signer::generate());
        let ca_file = dir.join(format!("issuer-{}.crt", address.port()));
        std::fs::write(&ca_file, &own.certificate_pem).expect("written");
        let keys = json!({"keys": [signer.jwk("one")]});
        let shown = Arc::new(Shown { url: url.clone(), keys, fault: Mutex::default(), asked: AtomicUsize::new(0) });
        runtime.spawn(serve(listener, client::acceptor(&own), shown.clone()));
        Self { url, ca_file, ca_pem: own.certificate_pem, signer, shown, runtime: Some(runtime) }
    }

    /// From now on.
    pub fn misbehave(&self, fault: Fault) {
        *self.shown.fault.lock() = fault;
    }

    /// How often anything was asked of it.
    pub fn asked(&self) -> usize {
        self.shown.asked.load(Ordering::Relaxed)
    }

    /// What a good token says.
    pub fn claims(&self, subject: &str, groups: &[&str]) -> Value {
        json!({"iss": self.url, "aud": AUDIENCE, "sub": subject, "groups": groups, "iat": now(), "exp": now() + 600})
    }

    pub fn token(&self, subject: &str, groups: &[&str]) -> String {
        self.sign(&self.claims(subject, groups))
    }

    /// A token that says this, signed by the key that is published.
    pub fn sign(&self, claims: &Value) -> String {
        self.signer.sign(&json!({"alg": "ES256", "typ": "JWT", "kid": "one"}), claims)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // It may be dropped where nothing may wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One request a connection.
async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, shown: Arc<Shown>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shown) = (tls.clone(), shown.clone());
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, &shown).await;
            }
        });
    }
}

async fn answer(mut stream: TlsStream<TcpStream>, shown: &Shown) {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap_or(0);
    shown.asked.fetch_add(1, Ordering::Relaxed);
    let fault = shown.fault.lock().clone();
    let keys = request[..length].starts_with(b"GET /keys ");
    let (status, body) = match fault {
        Fault::Silent => return tokio::time::sleep(SILENCE).await,
        Fault::Redirects(to) => (format!("302 Found\r\nlocation: {to}"), String::new()),
        Fault::Huge if keys => ("200 OK".to_owned(), format!(r#"{{"keys":[],"filler":"{}"}}"#, "x".repeat(HUGE))),
        Fault::Lies(other) => ("200 OK".to_owned(), discovery(&other, &shown.url).to_string()),
        _ if keys => ("200 OK".to_owned(), shown.keys.to_string()),
        _ => ("200 OK".to_owned(), discovery(&shown.url, &shown.url).to_string()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    // The other side may have heard enough.
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn discovery(issuer: &str, keys_at: &str) -> Value {
    json!({"issuer": issuer, "jwks_uri": format!("{keys_at}/keys")})
}
