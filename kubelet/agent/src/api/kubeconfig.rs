//! The part of a kubeconfig that an agent needs: a server, its CA and who we are.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: String,
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Clone, Debug, Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

/// A server and how to reach it.
pub(crate) struct Access {
    pub(crate) server: String,
    ca: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

impl Kubeconfig {
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut config: Self = serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        config.dir = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    /// What the current context names.
    pub(crate) fn access(&self) -> Result<Access, String> {
        let context = self.contexts.iter().find(|c| c.name == self.current_context).map(|c| &c.context);
        let context = context.ok_or_else(|| format!("the kubeconfig has no context {:?}", self.current_context))?;
        let cluster = self.clusters.iter().find(|c| c.name == context.cluster).map(|c| &c.cluster);
        let cluster = cluster.ok_or_else(|| format!("the kubeconfig has no cluster {:?}", context.cluster))?;
        let user = self.users.iter().find(|u| u.name == context.user).map(|u| u.user.clone()).unwrap_or_default();
        let ca = self.pem(&cluster.certificate_authority, &cluster.certificate_authority_data)?;
        let ca = ca.ok_or("the kubeconfig names no certificate authority")?;
        let certificate = self.pem(&user.client_certificate, &user.client_certificate_data)?;
        let key = self.pem(&user.client_key, &user.client_key_data)?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| format!("client key: {e}"))?;
                Some((certificates(&certificate)?, key))
            }
            _ => None,
        };
        Ok(Access {
            server: cluster.server.clone(),
            ca: certificates(&ca)?,
            identity,
            token: user.token,
            token_file: user.token_file.map(|p| self.dir.join(p)),
        })
    }

    /// PEM from its base64 data or from a file beside the kubeconfig.
    fn pem(&self, file: &Option<PathBuf>, data: &Option<String>) -> Result<Option<Vec<u8>>, String> {
        if let Some(data) = data {
            let text: String = data.split_whitespace().collect();
            return base64::engine::general_purpose::STANDARD.decode(text).map(Some).map_err(|e| e.to_string());
        }
        let Some(file) = file else { return Ok(None) };
        let path = self.dir.join(file);
        std::fs::read(&path).map(Some).map_err(|e| format!("{}: {e}", path.display()))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| format!("certificate: {e}"))
}

impl Access {
    /// A TLS configuration with these protocols (ALPN).
    pub(crate) fn tls(&self, alpn: &[&[u8]]) -> Result<rustls::ClientConfig, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &self.ca {
            roots.add(certificate.clone()).map_err(|e| format!("certificate authority: {e}"))?;
        }
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|e| format!("client certificate: {e}"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(config)
    }

    /// The bearer token, if that is how we identify ourselves.
    pub(crate) fn bearer(&self) -> Result<Option<String>, String> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(file)) => {
                let token = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
                Ok(Some(token.trim().to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}
