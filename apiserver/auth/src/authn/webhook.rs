//! Tokens that somebody else knows: a TokenReview is posted to them, and the answer kept for a while. Upstream's
//! `--authentication-token-webhook-*`.

use std::path::Path;
use std::time::{Duration, Instant};

use api_machinery::{ApiError, UserInfo, Value, object};
use async_trait::async_trait;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{Audiences, Authenticator, Credentials};
use crate::config::{ConfigError, kubeconfig};
use crate::outbound::{Outbound, OutboundError};
use crate::replies::{Key, Replies};

/// Of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of all tries together: upstream's for a look-up that requests share.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries, at most; the pause before the second, growing by a half.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of an answer.
const MAX_BYTES: usize = 1 << 20;
/// Answers kept, at most, twice over.
const MAX_KEPT: usize = 4096;
/// Reviews under way at once; more wait.
const AT_ONCE: usize = 64;

/// The version of TokenReview that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    V1,
    /// Upstream's default.
    #[default]
    V1beta1,
}

impl Version {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "authentication.k8s.io/v1",
            Self::V1beta1 => "authentication.k8s.io/v1beta1",
        }
    }
}

/// What an answer comes to: the user, and the audiences the token is for.
type Known = Option<(UserInfo, Vec<String>)>;

pub struct TokenWebhook {
    client: Outbound,
    url: String,
    bearer: Option<String>,
    version: Version,
    /// How long an answer is kept, whatever it is.
    ttl: Duration,
    /// This server: whom requests' tokens must be for.
    own: Vec<String>,
    kept: Replies<Known>,
    permits: Semaphore,
}

impl TokenWebhook {
    /// `file`: a kubeconfig.
    pub fn load(file: &Path, version: Version, ttl: Duration, own: Vec<String>) -> Result<Self, ConfigError> {
        let target = kubeconfig::load(file)?;
        let client = Outbound::new(&target.trust, TRY_TIMEOUT, MAX_BYTES);
        let client = client.map_err(|error| ConfigError::Invalid(format!("{}: {error}", file.display())))?;
        Ok(Self {
            client,
            url: target.url,
            bearer: target.bearer,
            version,
            ttl,
            own,
            kept: Replies::new(MAX_KEPT),
            permits: Semaphore::new(AT_ONCE),
        })
    }

    async fn ask(&self, token: &str, wanted: &[String]) -> Result<Known, ApiError> {
        let key = key(token, wanted);
        if let Some(known) = self.kept.get(&key, Instant::now()) {
            return Ok(known);
        }
        let asked = tokio::time::timeout(TIMEOUT, self.post(token, wanted)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(failed(&"no answer in time")),
        };
        let known = read(&answer, wanted, &self.own)?;
        if !self.ttl.is_zero() {
            self.kept.put(key, known.clone(), Instant::now() + self.ttl);
        }
        Ok(known)
    }

    async fn post(&self, token: &str, wanted: &[String]) -> Result<Value, OutboundError> {
        let review = json!({"apiVersion": self.version.api_version(), "kind": "TokenReview",
            "metadata": {"creationTimestamp": null}, "spec": {"token": token, "audiences": wanted},
            "status": {"user": {}}});
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.post_once(&review).await {
                Err(error) if error.is_worth_a_retry() => {}
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
        }
        self.post_once(&review).await
    }

    async fn post_once(&self, review: &Value) -> Result<Value, OutboundError> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let body = self.client.post(&self.url, self.bearer.as_deref(), review).await?;
        serde_json::from_slice(&body).map_err(|error| OutboundError::Config(format!("{}: {error}", self.url)))
    }
}

/// Nobody is let in because somebody could not be asked.
fn failed(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "failed to make webhook authenticator request");
    ApiError::unauthorized()
}

fn key(token: &str, wanted: &[String]) -> Key {
    let mut hash = Sha256::new();
    for part in std::iter::once(token).chain(wanted.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What the other side says. An answer that names no audience is of one that knows none: it speaks for this server.
fn read(answer: &Value, wanted: &[String], own: &[String]) -> Result<Known, ApiError> {
    if object::str_at(answer, "kind") != "TokenReview" || !answer["status"].is_object() {
        return Err(failed(&"the answer is no TokenReview"));
    }
    let status = &answer["status"];
    if status["authenticated"] != true {
        return match object::str_at(status, "error") {
            "" => Ok(None),
            why => {
                tracing::debug!(why, "a webhook refused a token");
                Ok(None)
            }
        };
    }
    let named = strings(&status["audiences"]);
    let for_whom = if named.is_empty() { own } else { &named };
    let fitting: Vec<String> = wanted.iter().filter(|audience| for_whom.contains(audience)).cloned().collect();
    if fitting.is_empty() && !wanted.is_empty() {
        return Ok(None);
    }
    let extra = status["user"]["extra"].as_object().into_iter().flatten();
    let user = UserInfo {
        name: object::str_at(status, "user.username").to_owned(),
        uid: object::str_at(status, "user.uid").to_owned(),
        groups: strings(&status["user"]["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    };
    Ok(Some((user, fitting)))
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[async_trait]
impl Authenticator for TokenWebhook {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some(token) = credentials.bearer_token.as_deref() else { return Ok(None) };
        Ok(self.ask(token, &self.own).await?.map(|(user, _)| user))
    }

    async fn review(&self, token: &str, audiences: Audiences<'_>) -> Result<Option<(UserInfo, Vec<String>)>, ApiError> {
        self.ask(token, audiences.wanted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings_of(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_an_answer_comes_to() {
        let of = |status: Value| json!({"kind": "TokenReview", "status": status});
        let ann = |audiences: &[&str]| {
            of(json!({"authenticated": true, "audiences": audiences,
                "user": {"username": "ann", "uid": "u", "groups": ["g"], "extra": {"a/b": ["c"]}}}))
        };
        let own = strings_of(&["api"]);
        for (answer, wanted, fitting) in [
            (ann(&[]), &["api"][..], Some(&["api"][..])),
            (ann(&[]), &["vault"], None),
            (ann(&["vault"]), &["vault", "x"], Some(&["vault"])),
            (ann(&["vault"]), &["api"], None),
            (of(json!({"authenticated": false, "error": "no"})), &["api"], None),
            (of(json!({"user": {"username": "ann"}})), &["api"], None),
        ] {
            let known = read(&answer, &strings_of(wanted), &own).expect("a review");
            assert_eq!(known.as_ref().map(|(_, fitting)| fitting.clone()), fitting.map(strings_of), "{answer}");
            if let Some((user, _)) = known {
                assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "u"));
                assert_eq!((user.groups, user.extra["a/b"].clone()), (strings_of(&["g"]), strings_of(&["c"])));
            }
        }
        for broken in [json!({}), json!({"kind": "Status", "status": "Success"}), json!([])] {
            assert_eq!(read(&broken, &own, &own).expect_err("no review").code, 401);
        }
    }

    #[test]
    fn keys_tell_questions_apart() {
        assert_ne!(key("a", &strings_of(&["b", "c"])), key("a", &strings_of(&["bc"])));
        assert_ne!(key("ab", &[]), key("a", &strings_of(&["b"])));
    }
}
