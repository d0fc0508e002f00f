//! TLS between replicas: who may connect, and what each connection proves.
//!
//! Both sides show a certificate of the peer CA whose DNS name is `node-ID.CLUSTER_ID.kontiki`. The
//! dialler insists on the name of the replica it means to reach, the listener learns from the name
//! who calls; replicas of another cluster end at the handshake. Files are read again when they change.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use store_api::{NodeId, StoreError};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::NodeConfig;

/// Who is at the other end, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
}

/// The DNS name in the certificate of replica `id`.
pub(crate) fn peer_name(id: NodeId, cluster: &str) -> String {
    format!("node-{id}.{cluster}.kontiki")
}

/// Reads `node-ID.CLUSTER_ID.kontiki`.
fn parse_name(name: &str) -> Option<PeerIdentity> {
    let (node, cluster) = name.strip_suffix(".kontiki")?.split_once('.')?;
    let digits = node.strip_prefix("node-")?;
    // One spelling per replica: no sign, no leading zero.
    let id: NodeId = digits.parse().ok().filter(|id: &NodeId| id.to_string() == digits)?;
    Some(PeerIdentity { id, cluster: cluster.to_owned() })
}

/// A cluster id is a DNS label: lower-case letters, digits and inner dashes, at most 63 characters.
pub(crate) fn valid_cluster_id(cluster: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&cluster.len())
        && cluster.chars().all(inner)
        && !cluster.starts_with('-')
        && !cluster.ends_with('-')
}

/// The identity a verified certificate proves.
pub(crate) fn identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("not X.509: {error}"))?;
    let mut names = parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.iter()),
        _ => None,
    });
    let dns = names.next().into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let found: Vec<PeerIdentity> = dns.filter_map(parse_name).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("no DNS name of the form node-ID.CLUSTER_ID.kontiki".into()),
        _ => Err("more than one DNS name of the form node-ID.CLUSTER_ID.kontiki".into()),
    }
}

struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

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
    client: Arc<ClientConfig>,
}

/// The TLS configuration of this replica's peer connections.
pub(crate) struct PeerTls {
    files: Files,
    me: PeerIdentity,
    loaded: ArcSwap<Loaded>,
}

impl PeerTls {
    /// Reads the files; refuses a certificate that names another replica or cluster.
    pub(crate) fn load(config: &NodeConfig) -> Result<Arc<Self>, StoreError> {
        let files = Files { ca: config.ca.clone(), certificate: config.certificate.clone(), key: config.key.clone() };
        let me = PeerIdentity { id: config.id, cluster: config.cluster_id.clone() };
        let loaded = read(&files).and_then(|pem| build(pem, &me)).map_err(StoreError::Invalid)?;
        Ok(Arc::new(Self { files, me, loaded: ArcSwap::from_pointee(loaded) }))
    }

    /// Reads the files again; new connections use what changed. A half-written file changes nothing.
    pub(crate) fn reload(&self) {
        let pem = match read(&self.files) {
            Ok(pem) if pem == self.loaded.load().pem => return,
            Ok(pem) => pem,
            Err(error) => return tracing::warn!(error, "peer TLS files cannot be read, the old ones stay"),
        };
        match build(pem, &self.me) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                tracing::info!("peer TLS files changed, new connections use them");
            }
            Err(error) => tracing::warn!(error, "peer TLS files are not usable, the old ones stay"),
        }
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.loaded.load().server.clone()
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.loaded.load().client.clone()
    }

    /// The name the replica `id` must prove.
    pub(crate) fn server_name(&self, id: NodeId) -> io::Result<ServerName<'static>> {
        ServerName::try_from(peer_name(id, &self.me.cluster)).map_err(io::Error::other)
    }
}

fn read(files: &Files) -> Result<Pem, String> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    Ok(Pem { ca: read(&files.ca)?, certificate: read(&files.certificate)?, key: read(&files.key)? })
}

fn build(pem: Pem, me: &PeerIdentity) -> Result<Loaded, String> {
    let certificates = |bytes: &[u8], what: &str| -> Result<Vec<CertificateDer<'static>>, String> {
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        let parsed = parsed.map_err(|error| format!("{what}: {error}"))?;
        if parsed.is_empty() { Err(format!("{what}: no certificate in it")) } else { Ok(parsed) }
    };
    let chain = certificates(&pem.certificate, "the peer certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| format!("the peer key: {error}"))?;
    let found = identity(&chain[0]).map_err(|error| format!("the peer certificate: {error}"))?;
    if found != *me {
        let (has, want) = (peer_name(found.id, &found.cluster), peer_name(me.id, &me.cluster));
        return Err(format!("the peer certificate is for {has}, this replica is {want}"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&pem.ca, "the peer CA")? {
        roots.add(certificate).map_err(|error| format!("the peer CA: {error}"))?;
    }
    let (server, client) = configs(roots, chain, key).map_err(|error| format!("peer TLS: {error}"))?;
    Ok(Loaded { pem, server: Arc::new(server), client: Arc::new(client) })
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn configs(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(ServerConfig, ClientConfig), Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok((server, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_spelling_only() {
        let ok = |id, cluster: &str| Some(PeerIdentity { id, cluster: cluster.into() });
        for (name, want) in [
            ("node-1.prod.kontiki", ok(1, "prod")),
            ("node-18446744073709551615.a.kontiki", ok(u64::MAX, "a")),
            ("node-01.prod.kontiki", None),
            ("node-+1.prod.kontiki", None),
            ("node-.prod.kontiki", None),
            ("node-1.kontiki", None),
            ("node-1.prod", None),
            ("xnode-1.prod.kontiki", None),
        ] {
            assert_eq!(parse_name(name), want, "{name}");
        }
    }

    #[test]
    fn cluster_ids_are_dns_labels() {
        let long = "a".repeat(64);
        for (cluster, want) in
            [("prod-1", true), ("", false), ("Prod", false), ("a.b", false), ("-a", false), (&long, false)]
        {
            assert_eq!(valid_cluster_id(cluster), want, "{cluster}");
        }
    }

    #[test]
    fn changed_files_are_used_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = crate::test_support::TestCa::new(dir.path());
        let (certificate, key) = ca.sign("node-1", "node-1.test.kontiki");
        let files = Files { ca: ca.ca_file(), certificate, key };
        let me = PeerIdentity { id: 1, cluster: "test".into() };
        let loaded = read(&files).and_then(|pem| build(pem, &me)).expect("usable");
        let tls = PeerTls { files, me, loaded: ArcSwap::from_pointee(loaded) };
        let first = tls.server();
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.server()), "nothing changed");
        ca.sign("node-1", "node-2.test.kontiki");
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.server()), "the certificate of another replica is not used");
        std::fs::write(dir.path().join("node-1.pem"), "half a fi").expect("written");
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.server()), "a broken file is not used");
        ca.sign("node-1", "node-1.test.kontiki");
        tls.reload();
        assert!(!Arc::ptr_eq(&first, &tls.server()), "the new certificate is used");
    }
}
