//! Certificate authorities and what they sign. All keys are ECDSA P-256.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot read or write {path}")]
    Io {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("bad certificate or key: {0}")]
    Invalid(String),
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct CertifiedKey {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What a certificate is for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub server: bool,
    pub client: bool,
    pub days: u32,
}

pub struct Authority {
    _private: (),
}

impl Authority {
    /// A new self-signed CA, valid ten years.
    pub fn create(_common_name: &str, _now: Timestamp) -> Result<Self, PkiError> {
        todo!()
    }
    /// Reads `DIR/NAME.crt` and `DIR/NAME.key`, or creates them (key 0600) where absent.
    pub fn load_or_create(_dir: &Path, _name: &str, _common_name: &str, _now: Timestamp) -> Result<Self, PkiError> {
        todo!()
    }
    pub fn from_pem(_certificate: &str, _key: &str) -> Result<Self, PkiError> {
        todo!()
    }
    pub fn certificate_pem(&self) -> &str {
        todo!()
    }
    pub fn key_pem(&self) -> &str {
        todo!()
    }
    /// A new key and a certificate for it.
    pub fn issue(&self, _request: &Request, _now: Timestamp) -> Result<CertifiedKey, PkiError> {
        todo!()
    }
    /// Signs a PEM certificate signing request with the given subject and usages (not those asked for).
    pub fn sign_csr(&self, _csr_pem: &str, _request: &Request, _now: Timestamp) -> Result<String, PkiError> {
        todo!()
    }
}

/// A new private key and a PEM certificate signing request for it.
pub fn new_csr(_request: &Request) -> Result<(String, String), PkiError> {
    todo!()
}

/// `sha256:<hex>` of a CA certificate's public key, as kubeadm's discovery hash.
pub fn public_key_hash(_certificate_pem: &str) -> Result<String, PkiError> {
    todo!()
}

/// When a certificate ends.
pub fn expiry(_certificate_pem: &str) -> Result<Timestamp, PkiError> {
    todo!()
}
