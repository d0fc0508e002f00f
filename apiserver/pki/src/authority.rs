//! Certificate authorities and what they sign. All keys are ECDSA P-256.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use rand::RngCore;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::FromDer;

use crate::files;

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

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct CertifiedKey {
    pub certificate_pem: String,
    pub key_pem: String,
}

impl CertifiedKey {
    /// Writes `DIR/NAME.crt` and, readable by the owner only, `DIR/NAME.key`.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), PkiError> {
        files::write_private(&dir.join(format!("{name}.key")), &self.key_pem)?;
        files::write_public(&dir.join(format!("{name}.crt")), &self.certificate_pem)
    }
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

/// Days a CA is valid: ten years, as kubeadm's.
const CA_DAYS: u32 = 3650;
/// Certificates are valid from a little before now, for peers whose clock is behind.
const BACKDATE: Duration = Duration::minutes(5);

pub struct Authority {
    /// All certificates that are trusted: while one CA takes over from another, both.
    certificate_pem: String,
    /// The one of them whose key signs.
    signing: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new self-signed CA, valid ten years.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let request = Request { common_name: common_name.to_owned(), days: CA_DAYS, ..Request::default() };
        let mut params = params(&request, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let signing = certificate.der().clone();
        Ok(Self { certificate_pem: certificate.pem(), signing, issuer: Issuer::new(params, key) })
    }

    /// Reads `DIR/NAME.crt` and `DIR/NAME.key`, or creates them (key 0600) where both are absent.
    pub fn load_or_create(dir: &Path, name: &str, common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if certificate.exists() || key.exists() {
            return Self::from_pem(&files::read(&certificate)?, &files::read(&key)?);
        }
        let authority = Self::create(common_name, now)?;
        let pair = CertifiedKey { certificate_pem: authority.certificate_pem.clone(), key_pem: authority.key_pem() };
        pair.write(dir, name)?;
        Ok(authority)
    }

    /// Of several certificates, that of the key signs; all of them are trusted.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key)?;
        let all = pem_certificates(certificates)?;
        let own = all.into_iter().find(|der| is_of(der, key.public_key_raw()));
        let own = own.ok_or_else(|| PkiError::Invalid("no certificate of the CA is of its key".to_owned()))?;
        let signing = CertificateDer::from(own);
        let issuer = Issuer::from_ca_cert_der(&signing, key)?;
        Ok(Self { certificate_pem: certificates.to_owned(), signing, issuer })
    }

    /// All that are trusted.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The one that signs.
    pub fn signing_pem(&self) -> String {
        crate::signing::pem("CERTIFICATE", &self.signing)
    }

    /// Whether a PEM certificate is signed with the present key.
    pub fn has_signed(&self, certificate_pem: &str) -> bool {
        let Ok(all) = pem_certificates(certificate_pem) else { return false };
        let one = all.first().and_then(|der| parsed(der));
        let ca = parsed(&self.signing);
        one.zip(ca).is_some_and(|(one, ca)| one.verify_signature(Some(ca.public_key())).is_ok())
    }

    pub(crate) fn signing_der(&self) -> &[u8] {
        &self.signing
    }

    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new key and a certificate for it.
    pub fn issue(&self, request: &Request, now: Timestamp) -> Result<CertifiedKey, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = params(request, now)?.signed_by(&key, &self.issuer)?;
        Ok(CertifiedKey { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Signs a PEM certificate signing request with the given subject and usages (not those asked for).
    pub fn sign_csr(&self, csr_pem: &str, request: &Request, now: Timestamp) -> Result<String, PkiError> {
        let mut csr = CertificateSigningRequestParams::from_pem(csr_pem)?;
        csr.params = params(request, now)?;
        Ok(csr.signed_by(&self.issuer)?.pem())
    }
}

fn parsed(der: &[u8]) -> Option<x509_parser::certificate::X509Certificate<'_>> {
    x509_parser::certificate::X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// Whether a certificate is of a public key.
fn is_of(der: &[u8], public_key: &[u8]) -> bool {
    parsed(der).is_some_and(|certificate| *certificate.public_key().subject_public_key.data == *public_key)
}

fn params(request: &Request, now: Timestamp) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(request.dns_names.clone())?;
    params.subject_alt_names.extend(request.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name = DistinguishedName::new();
    // A subject with several organizations (groups) is not expressible here: each push replaces the last.
    if request.organizations.len() > 1 {
        return Err(PkiError::Invalid("a certificate can carry one organization".to_owned()));
    }
    if let Some(organization) = request.organizations.first() {
        params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, request.common_name.as_str());
    let start =
        OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|error| PkiError::Invalid(error.to_string()))?;
    params.not_before = start - BACKDATE;
    params.not_after = start + Duration::days(i64::from(request.days.max(1)));
    params.serial_number = Some(random_serial());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if request.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if request.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    Ok(params)
}

#[expect(clippy::disallowed_methods, reason = "a serial number must not be guessable or repeat")]
fn random_serial() -> SerialNumber {
    let mut bytes = [0u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x01;
    SerialNumber::from_slice(&bytes)
}

/// A new private key and a certificate signing request for it: `(key PEM, CSR PEM)`.
pub fn new_csr(request: &Request, now: Timestamp) -> Result<(String, String), PkiError> {
    let key = KeyPair::generate()?;
    let mut params = params(request, now)?;
    params.serial_number = None;
    params.use_authority_key_identifier_extension = false;
    Ok((key.serialize_pem(), params.serialize_request(&key)?.pem()?))
}

/// The certificates of a PEM text, each as a PEM text of its own.
pub fn certificates(pem: &str) -> Result<Vec<String>, PkiError> {
    Ok(pem_certificates(pem)?.iter().map(|der| crate::signing::pem("CERTIFICATE", der)).collect())
}

/// The certificates of a PEM file, DER.
/// DER of every certificate of a PEM text.
pub fn pem_certificates(pem: &str) -> Result<Vec<Vec<u8>>, PkiError> {
    let mut found = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|error| PkiError::Invalid(error.to_string()))?;
        if block.label == "CERTIFICATE" {
            found.push(block.contents);
        }
    }
    if found.is_empty() {
        return Err(PkiError::Invalid("no certificate in PEM text".to_owned()));
    }
    Ok(found)
}

/// `sha256:<hex>` of the first CA certificate's public key, as kubeadm's discovery hash.
pub fn public_key_hash(certificate_pem: &str) -> Result<String, PkiError> {
    hash_of(&pem_certificates(certificate_pem)?.remove(0))
}

/// Whether one of the certificates has this discovery hash; while a CA is replaced there are two.
pub fn has_public_key_hash(certificate_pem: &str, hash: &str) -> Result<bool, PkiError> {
    let hashes: Vec<String> =
        pem_certificates(certificate_pem)?.iter().map(|der| hash_of(der)).collect::<Result<_, _>>()?;
    Ok(hashes.iter().any(|own| own == hash))
}

fn hash_of(der: &[u8]) -> Result<String, PkiError> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der)
        .map_err(|error| PkiError::Invalid(error.to_string()))?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(certificate.public_key().raw))))
}

/// Seconds since 1970 at which a certificate (DER) ends; `None` where it cannot be read.
pub fn ends_at(der: &[u8]) -> Option<i64> {
    parsed(der).map(|certificate| certificate.validity().not_after.timestamp())
}

/// When a certificate ends.
pub fn expiry(certificate_pem: &str) -> Result<Timestamp, PkiError> {
    let der = pem_certificates(certificate_pem)?.remove(0);
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&der)
        .map_err(|error| PkiError::Invalid(error.to_string()))?;
    let end = certificate.validity().not_after.timestamp();
    Timestamp::from_second(end).map_err(|error| PkiError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn issues_and_reads_back() {
        let authority = Authority::create("kontiki", now()).expect("a CA");
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).expect("reads back");
        let request = Request {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ips: vec!["127.0.0.1".parse().expect("ip")],
            client: true,
            days: 30,
            ..Request::default()
        };
        let issued = again.issue(&request, now()).expect("issues");
        let end = expiry(&issued.certificate_pem).expect("expiry");
        assert_eq!(end.as_second() - now().as_second(), 30 * 86_400);
        assert!(public_key_hash(authority.certificate_pem()).expect("hash").starts_with("sha256:"));
    }

    #[test]
    fn signs_a_request_with_our_subject_not_theirs() {
        let authority = Authority::create("kontiki", now()).expect("a CA");
        let asked =
            Request { common_name: "admin".into(), organizations: vec!["system:masters".into()], ..Request::default() };
        let (_, csr) = new_csr(&asked, now()).expect("csr");
        let given = Request { common_name: "system:node:b".into(), days: 1, client: true, ..Request::default() };
        let pem = authority.sign_csr(&csr, &given, now()).expect("signs");
        let der = pem_certificates(&pem).expect("pem").remove(0);
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&der).expect("der");
        assert_eq!(certificate.subject().to_string(), "CN=system:node:b");
    }

    #[test]
    fn keeps_a_half_written_pair_from_being_replaced() {
        let dir = tempfile::tempdir().expect("dir");
        Authority::load_or_create(dir.path(), "ca", "kontiki", now()).expect("creates");
        std::fs::remove_file(dir.path().join("ca.key")).expect("removes");
        assert!(Authority::load_or_create(dir.path(), "ca", "kontiki", now()).is_err());
    }

    #[test]
    fn of_two_the_one_of_the_key_signs() {
        let (old, new) = (Authority::create("a", now()).expect("a CA"), Authority::create("a", now()).expect("a CA"));
        let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
        for own in [&old, &new] {
            let read = Authority::from_pem(&both, &own.key_pem()).expect("reads");
            assert_eq!(
                pem_certificates(&read.signing_pem()).expect("pem"),
                pem_certificates(own.certificate_pem()).expect("pem")
            );
            let hash = public_key_hash(own.certificate_pem()).expect("hash");
            assert!(has_public_key_hash(&both, &hash).expect("reads"));
            let request = Request { common_name: "a".into(), days: 1, ..Request::default() };
            let issued = own.issue(&request, now()).expect("issues").certificate_pem;
            assert!(read.has_signed(&issued));
            assert_eq!(old.has_signed(&issued), std::ptr::eq(own, &old));
        }
        assert!(Authority::from_pem(old.certificate_pem(), &new.key_pem()).is_err());
    }
}
