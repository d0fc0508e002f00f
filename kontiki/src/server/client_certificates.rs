//! How long the certificates that clients show are still good, as upstream measures it.

use api_auth::authn::{Authenticator, Credentials};
use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;

const LEFT: &str = "apiserver_client_certificate_expiration_seconds";

/// An authenticator that measures whom it knows.
pub(super) struct Measured<A>(pub(super) A);

#[async_trait]
impl<A: Authenticator> Authenticator for Measured<A> {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let user = self.0.authenticate(credentials).await?;
        if user.is_some()
            && let Some(end) = credentials.client_certificate.as_deref().and_then(pki::authority::ends_at)
        {
            metrics::histogram!(LEFT).record((end - crate::now().as_second()).max(0) as f64);
        }
        Ok(user)
    }
}
