//! Client certificates: the common name is the user, the organizations are the groups.

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;
use x509_parser::prelude::FromDer;

use super::{Authenticator, Credentials};

pub struct X509;

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        // A token goes before the certificate only where the certificate says nothing, as upstream's order has it.
        Ok(credentials.client_certificate.as_deref().and_then(user_of))
    }
}

/// `None` when there is no common name, as upstream. Of several, the last is the name, as Go reads them: signers
/// and this must never see two different users in one certificate.
pub fn user_of(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|part| part.as_str().ok()).map(str::to_owned).collect();
    Some(UserInfo { name, groups, ..UserInfo::default() })
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
        assert_eq!(user_of(b"not a certificate"), None);
    }
}
