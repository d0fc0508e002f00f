//! How long the certificates that clients show are still good, as upstream measures it.

use std::collections::HashMap;

use api_auth::authn::{Authenticator, Credentials};
use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;
use parking_lot::RwLock;

const LEFT: &str = "apiserver_client_certificate_expiration_seconds";
/// Certificates of which is kept what they say: a connection shows the same with every request.
const KEPT: usize = 4_096;

/// An authenticator by certificates alone, that measures whom it knows.
pub(super) struct Measured<A> {
    authenticator: A,
    known: RwLock<HashMap<Vec<u8>, Known>>,
}

/// What a certificate says.
#[derive(Clone)]
struct Known {
    user: UserInfo,
    /// In seconds.
    ends: Option<i64>,
}

impl<A: Authenticator> Measured<A> {
    pub(super) fn new(authenticator: A) -> Self {
        Self { authenticator, known: RwLock::default() }
    }

    async fn read(&self, credentials: &Credentials) -> Result<Option<Known>, ApiError> {
        let certificate = credentials.client_certificate.as_deref();
        if let Some(known) = certificate.and_then(|certificate| self.known.read().get(certificate).cloned()) {
            return Ok(Some(known));
        }
        let Some(user) = self.authenticator.authenticate(credentials).await? else { return Ok(None) };
        let ends = certificate.and_then(pki::authority::ends_at);
        let known = Known { user, ends };
        if let Some(certificate) = certificate {
            let mut all = self.known.write();
            if all.len() >= KEPT {
                all.clear();
            }
            all.insert(certificate.to_vec(), known.clone());
        }
        Ok(Some(known))
    }
}

#[async_trait]
impl<A: Authenticator> Authenticator for Measured<A> {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some(Known { user, ends }) = self.read(credentials).await? else { return Ok(None) };
        if let Some(ends) = ends {
            metrics::histogram!(LEFT).record((ends - crate::now().as_second()).max(0) as f64);
        }
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes the certificate for a name, and counts how often it is asked.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    #[async_trait]
    impl Authenticator for Counted {
        async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let name = credentials.client_certificate.clone().and_then(|name| String::from_utf8(name).ok());
            Ok(name.map(|name| UserInfo { name, ..UserInfo::default() }))
        }
    }

    #[tokio::test]
    async fn a_certificate_is_read_once_and_says_the_same_again() {
        let measured = Measured::new(Counted::default());
        let of = |name: Option<&str>| Credentials {
            client_certificate: name.map(|name| name.as_bytes().to_vec()),
            ..Credentials::default()
        };
        for (name, asked) in [(Some("a"), 1), (Some("b"), 2), (Some("a"), 2), (Some("b"), 2), (None, 3), (None, 4)] {
            let user = measured.authenticate(&of(name)).await.expect("an answer");
            assert_eq!(user.map(|user| user.name).as_deref(), name);
            assert_eq!(measured.authenticator.0.load(Ordering::Relaxed), asked);
        }
        for number in 0..KEPT {
            measured.authenticate(&of(Some(&number.to_string()))).await.expect("an answer");
        }
        assert!(measured.known.read().len() <= KEPT);
    }
}
