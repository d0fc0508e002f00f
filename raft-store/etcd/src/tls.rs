//! TLS towards clients: both sides show certificates, and files are read again when they change.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::EtcdConfig;

/// The bytes of the files, to see whether they changed.
#[derive(PartialEq, Eq)]
struct Pem {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

struct Loaded {
    pem: Pem,
    server: Arc<ServerConfig>,
}

pub(crate) struct ClientTls {
    config: EtcdConfig,
    /// By ALPN, the preferred one first.
    protocols: &'static [&'static str],
    loaded: ArcSwap<Loaded>,
}

impl ClientTls {
    pub(crate) fn load(config: &EtcdConfig, protocols: &'static [&'static str]) -> Result<Arc<Self>, String> {
        let loaded = read(config).and_then(|pem| build(pem, protocols))?;
        Ok(Arc::new(Self { config: config.clone(), protocols, loaded: ArcSwap::from_pointee(loaded) }))
    }

    /// New connections use what changed. A half-written file changes nothing.
    pub(crate) fn reload(&self) {
        let pem = match read(&self.config) {
            Ok(pem) if pem == self.loaded.load().pem => return,
            Ok(pem) => pem,
            Err(error) => return tracing::warn!(error, "TLS files for clients cannot be read, the old ones stay"),
        };
        match build(pem, self.protocols) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                tracing::info!("TLS files for clients changed, new connections use them");
            }
            Err(error) => tracing::warn!(error, "TLS files for clients are not usable, the old ones stay"),
        }
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.loaded.load().server.clone()
    }
}

fn read(config: &EtcdConfig) -> Result<Pem, String> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    Ok(Pem { ca: read(&config.ca)?, certificate: read(&config.certificate)?, key: read(&config.key)? })
}

fn build(pem: Pem, protocols: &[&str]) -> Result<Loaded, String> {
    let chain = certificates(&pem.certificate, "the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| format!("the key: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&pem.ca, "the CA of clients")? {
        roots.add(certificate).map_err(|error| format!("the CA of clients: {error}"))?;
    }
    let mut server = server_config(roots, chain, key).map_err(|error| error.to_string())?;
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Loaded { pem, server: Arc::new(server) })
}

fn certificates(bytes: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match parsed.map_err(|error| format!("{what}: {error}"))? {
        none if none.is_empty() => Err(format!("{what}: no certificate in it")),
        some => Ok(some),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn server_config(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?)
}

#[cfg(test)]
mod tests {
    use store_node::test_support::TestCa;

    use super::*;

    #[test]
    fn changed_files_are_used_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = TestCa::new(dir.path());
        let (certificate, key) = ca.sign("server", "localhost");
        let config = EtcdConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ca: ca.ca_file(),
            certificate,
            key,
            progress_interval: EtcdConfig::PROGRESS_INTERVAL,
            min_lease_ttl: EtcdConfig::MIN_LEASE_TTL,
        };
        let tls = ClientTls::load(&config, &["h2"]).expect("usable");
        let first = tls.server();
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.server()), "nothing changed");
        fs::write(&config.certificate, "half a fi").expect("written");
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.server()), "a broken file is not used");
        ca.sign("server", "localhost");
        tls.reload();
        assert!(!Arc::ptr_eq(&first, &tls.server()), "the new certificate is used");
        fs::write(&config.ca, "").expect("written");
        assert!(
            ClientTls::load(&config, &["h2"]).is_err_and(|why| why.contains("the CA of clients: no certificate in it"))
        );
    }
}
