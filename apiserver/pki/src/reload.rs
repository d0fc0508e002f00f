//! TLS configurations whose files are read again when they change, without restart.
//!
//! A configuration holds its certificate, key and CA behind an `ArcSwap`; a task looks at the
//! files' times once a second and swaps in what parses. Files that do not parse are logged and the
//! old ones stay in use. The task ends with the configuration.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::authority::{PkiError, pem_certificates};
use crate::files;

/// How often the files' times are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Server side: own certificate, and clients checked against `client_ca` when they present one
/// (`require`: they must). The CA's names are not hinted to clients. TLS 1.2 and 1.3.
///
/// Must be called inside a tokio runtime.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: &Path,
    require: bool,
    alpn: &[&[u8]],
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let roots = Reloading::start(client_verifier_of(client_ca))?;
    let policy = if require { Policy::Require } else { Policy::Verify };
    server_side(certificate, key, Clients { roots, policy }, alpn)
}

/// Server side for clients that may also say who they are by a token: whatever certificate one presents, and has
/// the key of, does for the handshake, and [`ClientTrust`] tells whether it says who they are.
///
/// Must be called inside a tokio runtime.
pub fn lenient_server_config(
    certificate: &Path,
    key: &Path,
    client_ca: &Path,
    alpn: &[&[u8]],
) -> Result<(Arc<rustls::ServerConfig>, ClientTrust), PkiError> {
    let roots = Reloading::start(client_verifier_of(client_ca))?;
    let trust = ClientTrust { roots: roots.clone() };
    let config = server_side(certificate, key, Clients { roots, policy: Policy::Ask }, alpn)?;
    Ok((config, trust))
}

fn server_side(
    certificate: &Path,
    key: &Path,
    clients: Clients,
    alpn: &[&[u8]],
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let identity = Reloading::start(identity_of(certificate, key))?;
    let builder = rustls::ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(invalid)?;
    let builder = builder.with_client_cert_verifier(Arc::new(clients));
    let mut config = builder.with_cert_resolver(Arc::new(Identity(identity)));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Another CA for certificates that clients present: of those that speak for others.
///
/// Must be called inside a tokio runtime.
pub fn client_trust(ca: &Path) -> Result<ClientTrust, PkiError> {
    Ok(ClientTrust { roots: Reloading::start(client_verifier_of(ca))? })
}

/// The client CA as it is now.
pub struct ClientTrust {
    roots: Arc<Reloading<dyn ClientCertVerifier>>,
}

impl ClientTrust {
    /// Whether a chain that a client presented leads to the CA, is for clients, and is of now. `Err`: why not.
    pub fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let Some((end_entity, intermediates)) = chain.split_first() else { return Err("no certificate".to_owned()) };
        let verified = self.roots.get().verify_client_cert(end_entity, intermediates, UnixTime::now());
        verified.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Client side: servers checked against `ca`, own certificate presented and re-read when it changes.
///
/// Must be called inside a tokio runtime.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
    alpn: &[&[u8]],
) -> Result<Arc<rustls::ClientConfig>, PkiError> {
    let roots = Reloading::start(server_verifier_of(ca))?;
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(invalid)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Servers { roots }));
    let mut config = match identity {
        Some((certificate, key)) => {
            let identity = Reloading::start(identity_of(certificate, key))?;
            builder.with_client_cert_resolver(Arc::new(Identity(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn invalid(error: impl std::fmt::Display) -> PkiError {
    PkiError::Invalid(error.to_string())
}

type Load<T> = Box<dyn Fn(&[PathBuf]) -> Result<Arc<T>, PkiError> + Send + Sync>;

/// How a value is made from files.
struct Source<T: ?Sized> {
    paths: Vec<PathBuf>,
    load: Load<T>,
}

/// A value made from files, and again when they change.
struct Reloading<T: ?Sized + Send + Sync + 'static> {
    current: ArcSwap<Arc<T>>,
    source: Source<T>,
}

impl<T: ?Sized + Send + Sync + 'static> Reloading<T> {
    fn start(source: Source<T>) -> Result<Arc<Self>, PkiError> {
        let seen = times(&source.paths);
        let first = (source.load)(&source.paths)?;
        let this = Arc::new(Self { current: ArcSwap::from_pointee(first), source });
        tokio::spawn(follow(Arc::downgrade(&this), seen));
        Ok(this)
    }

    fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.load())
    }
}

async fn follow<T: ?Sized + Send + Sync + 'static>(this: Weak<Reloading<T>>, mut seen: Vec<Option<SystemTime>>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(this) = this.upgrade() else { return };
        let now = times(&this.source.paths);
        if now == seen {
            continue;
        }
        match (this.source.load)(&this.source.paths) {
            Ok(value) => {
                this.current.store(Arc::new(value));
                seen = now;
                tracing::info!(files = ?this.source.paths, "certificate files read again");
            }
            // Perhaps half-written: look again in the next round.
            Err(error) => tracing::warn!(files = ?this.source.paths, %error, "changed certificate files not usable"),
        }
    }
}

fn times(paths: &[PathBuf]) -> Vec<Option<SystemTime>> {
    paths.iter().map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok()).collect()
}

fn identity_of(certificate: &Path, key: &Path) -> Source<CertifiedKey> {
    Source {
        paths: vec![certificate.to_owned(), key.to_owned()],
        load: Box::new(|paths| {
            let chain = pem_certificates(&files::read(&paths[0])?)?.into_iter().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::from_pem_slice(files::read(&paths[1])?.as_bytes()).map_err(invalid)?;
            CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(invalid)
        }),
    }
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, PkiError> {
    let mut store = RootCertStore::empty();
    for der in pem_certificates(&files::read(path)?)? {
        store.add(CertificateDer::from(der)).map_err(invalid)?;
    }
    Ok(Arc::new(store))
}

fn client_verifier_of(ca: &Path) -> Source<dyn ClientCertVerifier> {
    Source {
        paths: vec![ca.to_owned()],
        load: Box::new(|paths| {
            WebPkiClientVerifier::builder_with_provider(roots(&paths[0])?, provider()).build().map_err(invalid)
        }),
    }
}

fn server_verifier_of(ca: &Path) -> Source<dyn ServerCertVerifier> {
    Source {
        paths: vec![ca.to_owned()],
        load: Box::new(|paths| {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots(&paths[0])?, provider()).build();
            verifier.map(|verifier| verifier as Arc<dyn ServerCertVerifier>).map_err(invalid)
        }),
    }
}

struct Identity(Arc<Reloading<CertifiedKey>>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// What becomes of clients in the handshake.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    /// They present a good certificate.
    Require,
    /// They present a good certificate or none.
    Verify,
    /// They may present anything.
    Ask,
}

/// Checks clients against the CA as it is now.
struct Clients {
    roots: Arc<Reloading<dyn ClientCertVerifier>>,
    policy: Policy,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.policy == Policy::Require
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.policy == Policy::Ask {
            return Ok(ClientCertVerified::assertion());
        }
        self.roots.get().verify_client_cert(end_entity, intermediates, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.get().verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.get().verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.get().supported_verify_schemes()
    }
}

/// Checks servers against the CA as it is now.
struct Servers {
    roots: Arc<Reloading<dyn ServerCertVerifier>>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Servers")
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.roots.get().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.get().verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.get().verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.get().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::authority::{Authority, Request};

    fn issue(dir: &Path, authority: &Authority, name: &str, days: u32) {
        let request = Request {
            common_name: name.into(),
            ips: vec!["127.0.0.1".parse().expect("ip")],
            server: true,
            client: true,
            days,
            ..Request::default()
        };
        let now = jiff::Timestamp::from_second(SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_secs() as i64);
        authority.issue(&request, now.expect("time")).expect("issues").write(dir, name).expect("writes");
    }

    /// The certificate the server shows in one handshake.
    async fn shown(server: Arc<rustls::ServerConfig>, client: Arc<rustls::ClientConfig>) -> std::io::Result<Vec<u8>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(async move {
            let mut stream = tokio_rustls::TlsAcceptor::from(server).accept(far).await?;
            stream.write_all(b"x").await?;
            stream.shutdown().await
        });
        let name = ServerName::try_from("127.0.0.1").expect("name");
        let mut stream = tokio_rustls::TlsConnector::from(client).connect(name, near).await?;
        let mut byte = [0u8; 1];
        stream.read_exact(&mut byte).await?;
        let certificate = stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec();
        serving.await.expect("server task")?;
        Ok(certificate)
    }

    #[tokio::test]
    async fn a_new_certificate_is_served_without_restart() {
        let dir = tempfile::tempdir().expect("dir");
        let dir = dir.path();
        let now: jiff::Timestamp =
            jiff::Timestamp::from_second(SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_secs() as i64)
                .expect("time");
        let authority = Authority::load_or_create(dir, "ca", "test", now).expect("ca");
        issue(dir, &authority, "server", 1);
        issue(dir, &authority, "client", 1);
        let path = |name: &str| dir.join(name);
        let server =
            server_config(&path("server.crt"), &path("server.key"), &path("ca.crt"), true, &[]).expect("server");
        let (certificate, key) = (path("client.crt"), path("client.key"));
        // A client of its own for each handshake: a resumed session shows the certificate of its first one.
        let client = || client_config(&path("ca.crt"), Some((&certificate, &key)), &[]).expect("client");
        let first = shown(server.clone(), client()).await.expect("handshake");
        issue(dir, &authority, "server", 2);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while shown(server.clone(), client()).await.expect("handshake") == first {
            assert!(tokio::time::Instant::now() < deadline, "the new certificate was never served");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let anonymous = client_config(&path("ca.crt"), None, &[]).expect("client");
        assert!(shown(server, anonymous).await.is_err(), "a client without certificate is refused");
    }
}
