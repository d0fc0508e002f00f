//! Authentication: certificate or token to a user.

pub mod bootstrap_token;
pub mod oidc;
pub mod request_header;
pub mod service_account;
pub mod token_file;
pub mod webhook;
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
    /// Whom a front proxy says the request is from, whose certificate has been verified: see [`request_header`].
    pub front_proxy: Option<UserInfo>,
    /// The path of the request, by which strangers may be let in.
    pub path: String,
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
        let credentials = Credentials { bearer_token: Some(token.to_owned()), ..Credentials::default() };
        Ok(self.authenticate(&credentials).await?.map(|user| (user, fitting)))
    }
}

/// Every method in turn; the first that knows the credentials answers, and one that refuses them does not keep the
/// others from knowing them. Whoever is known is in `system:authenticated`; a bearer token that no method knows is
/// refused; no credentials at all are anonymous.
pub struct Union {
    pub methods: Vec<Box<dyn Authenticator>>,
    pub anonymous: Anonymous,
}

/// Who may come without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// Upstream's `--anonymous-auth`.
    pub enabled: bool,
    /// Only to these paths; to all when empty.
    pub paths: Vec<String>,
}

impl Anonymous {
    /// To all paths.
    pub fn everywhere() -> Self {
        Self { enabled: true, paths: Vec::new() }
    }

    fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|own| own == path))
    }
}

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";

/// The refusals of methods: one that says that something does not work is told rather than a 401.
#[derive(Default)]
struct Refusals(Option<ApiError>);

impl Refusals {
    fn add(&mut self, error: ApiError) {
        if self.0.as_ref().is_none_or(|kept| kept.code == 401) {
            self.0 = Some(error);
        }
    }
}

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let mut refusals = Refusals::default();
        for method in &self.methods {
            match method.authenticate(credentials).await {
                Ok(Some(user)) => return Ok(Some(known(user))),
                Ok(None) => {}
                Err(error) => refusals.add(error),
            }
        }
        if let Some(refusal) = refusals.0 {
            return Err(refusal);
        }
        if credentials.bearer_token.is_some() || !self.anonymous.allows(&credentials.path) {
            return Err(ApiError::unauthorized());
        }
        Ok(Some(UserInfo::anonymous()))
    }

    async fn review(&self, token: &str, audiences: Audiences<'_>) -> Result<Option<(UserInfo, Vec<String>)>, ApiError> {
        let mut refusals = Refusals::default();
        for method in &self.methods {
            match method.review(token, audiences).await {
                Ok(Some((user, fitting))) => return Ok(Some((known(user), fitting))),
                Ok(None) => {}
                Err(error) => refusals.add(error),
            }
        }
        Err(refusals.0.unwrap_or_else(ApiError::unauthorized))
    }
}

/// A front proxy or a webhook may say that somebody is a stranger: then they stay one.
fn known(mut user: UserInfo) -> UserInfo {
    if user.name != ANONYMOUS && !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one token, refuses another.
    struct Knows(&'static str, &'static str);

    #[async_trait]
    impl Authenticator for Knows {
        async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
            match credentials.bearer_token.as_deref() {
                Some(token) if token == self.0 => Ok(Some(UserInfo { name: token.to_owned(), ..UserInfo::default() })),
                Some(token) if token == self.1 => Err(ApiError::unauthorized()),
                _ => Ok(None),
            }
        }
    }

    async fn who(anonymous: Anonymous, token: Option<&str>, path: &str) -> Result<String, u16> {
        let all = Union { methods: vec![Box::new(Knows("ann", "bob")), Box::new(Knows("bob", "eve"))], anonymous };
        let credentials =
            Credentials { bearer_token: token.map(str::to_owned), path: path.to_owned(), ..Credentials::default() };
        let user = all.authenticate(&credentials).await;
        user.map(|user| user.map(|user| user.name).unwrap_or_default()).map_err(|error| error.code)
    }

    #[tokio::test]
    async fn a28_strangers_come_in_where_they_may() {
        let nowhere = Anonymous { enabled: false, paths: Vec::new() };
        let health = Anonymous { enabled: true, paths: vec!["/livez".to_owned()] };
        for (anonymous, token, path, wanted) in [
            (Anonymous::everywhere(), None, "/api", Ok("system:anonymous")),
            (nowhere.clone(), None, "/livez", Err(401)),
            (health.clone(), None, "/livez", Ok("system:anonymous")),
            (health.clone(), None, "/livez/", Err(401)),
            (health.clone(), None, "/api", Err(401)),
            (health.clone(), Some("nobody"), "/livez", Err(401)),
            (health, Some("ann"), "/api", Ok("ann")),
            (Anonymous::everywhere(), Some("nobody"), "/api", Err(401)),
            (Anonymous::everywhere(), Some("eve"), "/api", Err(401)),
            // One method refuses, another knows.
            (nowhere, Some("bob"), "/api", Ok("bob")),
        ] {
            let found = who(anonymous.clone(), token, path).await;
            assert_eq!(found.as_deref().map_err(|code| *code), wanted, "{anonymous:?} {token:?} {path}");
        }
    }
}
