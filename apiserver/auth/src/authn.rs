//! Authentication: certificate or token to a user.

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;

/// What a connection and a request bring along.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// DER of the client certificate, already verified against the client CA by TLS.
    pub client_certificate: Option<Vec<u8>>,
    /// Of `Authorization: Bearer`.
    pub bearer_token: Option<String>,
}

/// Every method in turn; the first that knows the credentials answers.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: not mine. `Err`: mine, and bad (401).
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError>;
}
