//! Authentication: certificate or token to a user.

pub mod bootstrap_token;
pub mod service_account;
pub mod x509;

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;

/// What a connection and a request bring along.
#[derive(Clone, Default)]
pub struct Credentials {
    /// DER of the client certificate, already verified against the client CA by TLS.
    pub client_certificate: Option<Vec<u8>>,
    /// Of `Authorization: Bearer`.
    pub bearer_token: Option<String>,
}

/// Whom a token that is reviewed must be for.
#[derive(Clone, Copy)]
pub struct Audiences<'a> {
    /// One of these at least.
    pub wanted: &'a [String],
    /// This server: what every token is for that names no audience.
    pub own: &'a [String],
}

/// One method, or several in turn.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: not mine. `Err`: mine, and bad (401).
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError>;

    /// For TokenReview: the user of a token, and for which of the wanted audiences it is. Default: the tokens of
    /// this method name no audience.
    async fn review(&self, token: &str, audiences: Audiences<'_>) -> Result<Option<(UserInfo, Vec<String>)>, ApiError> {
        let fitting: Vec<String> =
            audiences.own.iter().filter(|audience| audiences.wanted.contains(audience)).cloned().collect();
        if fitting.is_empty() {
            return Ok(None);
        }
        let credentials = Credentials { client_certificate: None, bearer_token: Some(token.to_owned()) };
        Ok(self.authenticate(&credentials).await?.map(|user| (user, fitting)))
    }
}

/// Every method in turn; the first that knows the credentials answers. Whoever is known is in
/// `system:authenticated`; a bearer token that no method knows is refused; no credentials at all are anonymous.
pub struct Union {
    pub methods: Vec<Box<dyn Authenticator>>,
    /// Upstream's `--anonymous-auth`.
    pub anonymous: bool,
}

const AUTHENTICATED: &str = "system:authenticated";

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        for method in &self.methods {
            if let Some(user) = method.authenticate(credentials).await? {
                return Ok(Some(known(user)));
            }
        }
        if credentials.bearer_token.is_some() || !self.anonymous {
            return Err(ApiError::unauthorized());
        }
        Ok(Some(UserInfo::anonymous()))
    }

    async fn review(&self, token: &str, audiences: Audiences<'_>) -> Result<Option<(UserInfo, Vec<String>)>, ApiError> {
        for method in &self.methods {
            if let Some((user, fitting)) = method.review(token, audiences).await? {
                return Ok(Some((known(user), fitting)));
            }
        }
        Err(ApiError::unauthorized())
    }
}

fn known(mut user: UserInfo) -> UserInfo {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}
