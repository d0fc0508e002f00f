//! ID tokens of issuers that are configured (OpenID Connect): signature, audience, times, and what claims say who the
//! user is. Issuers may be exchanged while tokens are checked.

mod claims;
mod keys;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_machinery::{ApiError, UserInfo, Value};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::Validation;
use metrics::histogram;
use pki::tokens::claimed_issuer;
use serde_json::Map;
use sha2::{Digest, Sha256};

use super::{Authenticator, Credentials};
use crate::config::ConfigError;
use crate::config::authentication::JwtAuthenticator;
use crate::outbound::{Outbound, Trust};
use keys::Keys;

/// Of one request to an issuer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a discovery document or of a key set.
const MAX_BYTES: usize = 1 << 20;
/// Seconds a token may be used before its `nbf`: what go-oidc lets through.
const EARLY_SECONDS: i64 = 300;

/// What upstream accepts where issuers come from a file, but ES512, which our library does not know.
pub const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

type Claims = Map<String, Value>;

struct Issuer {
    config: JwtAuthenticator,
    expressions: claims::Expressions,
    algorithms: Vec<Algorithm>,
    keys: Keys,
    /// In metrics, where a URL would be too long and say too much.
    hash: String,
}

/// All issuers.
pub struct Oidc {
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
    now: fn() -> Timestamp,
}

impl Issuer {
    fn new(config: &JwtAuthenticator, algorithms: &[Algorithm]) -> Result<Self, ConfigError> {
        let ca = Some(config.issuer.certificate_authority.clone()).filter(|pem| !pem.is_empty());
        let trust = Trust { ca, ..Trust::default() };
        let client = Outbound::new(&trust, TIMEOUT, MAX_BYTES);
        let client = client.map_err(|error| ConfigError::Invalid(format!("{}: {error}", config.issuer.url)))?;
        let expressions = claims::Expressions::compile(config);
        let expressions = expressions.map_err(|why| ConfigError::Invalid(format!("{}: {why}", config.issuer.url)))?;
        Ok(Self {
            config: config.clone(),
            expressions,
            algorithms: algorithms.to_vec(),
            keys: Keys::new(client, &config.issuer),
            hash: format!("sha256:{}", hex::encode(Sha256::digest(&config.issuer.url))),
        })
    }

    async fn user(&self, token: &str, now: Timestamp) -> Result<UserInfo, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "malformed jwt".to_owned())?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("id token signed with unsupported algorithm {:?}", header.alg));
        }
        let untrusted = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token);
        // Before anything is fetched or computed for it.
        claims::check_audience(&untrusted.map_err(|_| "malformed jwt".to_owned())?, &self.config.issuer.audiences)?;
        let claims = self.signed(token, header.kid.as_deref(), header.alg).await?;
        claims::check_times(&claims, now, EARLY_SECONDS)?;
        claims::user(&self.config, &self.expressions, &claims)
    }

    /// The claims of a token that a key of the issuer signed. Keys are fetched again when none has.
    async fn signed(&self, token: &str, kid: Option<&str>, alg: Algorithm) -> Result<Claims, String> {
        let mut validation = Validation::new(alg);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        let check = |keys: &[keys::Key]| {
            let fitting = keys.iter().filter(|key| key.fits(kid, alg));
            fitting.into_iter().find_map(|key| jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).ok())
        };
        let known = self.keys.known();
        if let Some(good) = check(&known) {
            return Ok(good.claims);
        }
        let fetched = self.keys.fetch(&known).await?;
        let good = check(&fetched).ok_or("failed to verify id token signature")?;
        Ok(good.claims)
    }
}

impl Oidc {
    pub fn new(
        config: &[JwtAuthenticator],
        algorithms: &[Algorithm],
        now: fn() -> Timestamp,
    ) -> Result<Self, ConfigError> {
        let this = Self { issuers: ArcSwap::from_pointee(Vec::new()), now };
        this.exchange(config, algorithms)?;
        Ok(this)
    }

    /// From now on these issuers count. One whose configuration is the same keeps its keys.
    pub fn exchange(&self, config: &[JwtAuthenticator], algorithms: &[Algorithm]) -> Result<(), ConfigError> {
        let old = self.issuers.load_full();
        let mut issuers = Vec::with_capacity(config.len());
        for one in config {
            let same = old.iter().find(|issuer| issuer.config == *one && issuer.algorithms == algorithms);
            issuers.push(match same {
                Some(issuer) => issuer.clone(),
                None => Arc::new(Issuer::new(one, algorithms)?),
            });
        }
        self.issuers.store(Arc::new(issuers));
        Ok(())
    }

    /// Fetches the keys of every issuer that has none, so that the first token need not wait. What does not answer
    /// is asked again when a token comes.
    pub async fn warm(&self) {
        for issuer in self.issuers.load_full().iter() {
            let known = issuer.keys.known();
            if known.is_empty()
                && let Err(error) = issuer.keys.fetch(&known).await
            {
                tracing::error!(error, issuer = issuer.config.issuer.url, "oidc authenticator: no keys yet");
            }
        }
    }
}

#[async_trait]
impl Authenticator for Arc<Oidc> {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some(token) = credentials.bearer_token.as_deref() else { return Ok(None) };
        let Some(named) = claimed_issuer(token) else { return Ok(None) };
        // Google once left the scheme out.
        let named = if named == "accounts.google.com" { "https://accounts.google.com".to_owned() } else { named };
        let issuers = self.issuers.load_full();
        let Some(issuer) = issuers.iter().find(|issuer| issuer.config.issuer.url == named) else { return Ok(None) };
        let started = Instant::now();
        let user = issuer.user(token, (self.now)()).await;
        let result = if user.is_ok() { "success" } else { "failure" };
        histogram!("apiserver_authentication_jwt_authenticator_latency_seconds", "result" => result,
            "jwt_issuer_hash" => issuer.hash.clone())
        .record(started.elapsed().as_secs_f64());
        user.map(Some).map_err(|why| {
            tracing::debug!(why, issuer = named, "an ID token is refused");
            ApiError::unauthorized()
        })
    }
}
