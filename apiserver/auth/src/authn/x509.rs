//! Client certificates: the common name is the user, the organizations are the groups.

use std::collections::BTreeMap;

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::{Authenticator, Credentials};

pub struct X509;

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        // A token goes before the certificate only where the certificate says nothing, as upstream's order has it.
        let Some(der) = credentials.client_certificate.as_deref() else { return Ok(None) };
        match read(der) {
            Ok(user) => Ok(user),
            Err(why) => {
                tracing::debug!(why, "a client certificate says who somebody is in no way that is understood");
                Err(ApiError::unauthorized())
            }
        }
    }
}

/// `None` when there is no common name, as upstream. Of several, the last is the name, as Go reads them: signers
/// and this must never see two different users in one certificate.
pub fn user_of(der: &[u8]) -> Option<UserInfo> {
    read(der).ok().flatten()
}

/// The name of who holds a certificate, and nothing else of it.
pub fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    Some(certificate.subject().iter_common_name().last()?.as_str().ok()?.to_owned())
}

/// Upstream's attribute for the uid of a user.
const UID: [u64; 8] = [1, 3, 6, 1, 4, 1, 57683, 2];
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

fn read(der: &[u8]) -> Result<Option<UserInfo>, &'static str> {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(der) else { return Ok(None) };
    let subject = certificate.subject();
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or("").to_owned();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject.iter_organization().filter_map(|part| part.as_str().ok()).map(str::to_owned).collect();
    let credential = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]);
    Ok(Some(UserInfo { name, uid: uid(subject)?, groups, extra }))
}

/// Empty where there is none. Two are as bad as one that is empty.
fn uid(subject: &X509Name<'_>) -> Result<String, &'static str> {
    let oid = Oid::from(&UID).map_err(|_| "the attribute for the UID is none")?;
    let mut all = subject.iter_by_oid(&oid);
    let Some(first) = all.next() else { return Ok(String::new()) };
    match (first.as_str(), all.next()) {
        (Ok(""), _) => Err("UID cannot be an empty string"),
        (Ok(uid), None) => Ok(uid.to_owned()),
        (Ok(_), Some(_)) => Err("expected 1 UID, but found multiple"),
        (Err(_), _) => Err("unable to parse UID into a string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_name_and_groups() {
        let now = "2026-11-22T00:00:00Z".parse().expect("time");
        let authority = pki::authority::Authority::create("ca", now).expect("ca");
        let request = pki::authority::Request {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            client: true,
            days: 1,
            ..Default::default()
        };
        let pem = authority.issue(&request, now).expect("issues").certificate_pem;
        let der = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).next().expect("one").expect("pem").contents;
        let user = user_of(&der).expect("a user");
        assert_eq!((user.name.as_str(), user.groups), ("system:node:a", vec!["system:nodes".to_owned()]));
        assert_eq!(user.extra[CREDENTIAL_ID], [format!("X509SHA256={}", hex::encode(Sha256::digest(&der)))]);
        assert_eq!((user.uid.as_str(), common_name(&der).as_deref()), ("", Some("system:node:a")));
        assert_eq!(user_of(b"not a certificate"), None);
    }
}
