//! Tokens that somebody else knows: a TokenReview is posted to them, and the answer kept for a while. Upstream's
//! `--authentication-token-webhook-*`.

use std::path::Path;
use std::time::{Duration, Instant};

use api_machinery::{ApiError, UserInfo, Value, object};
use async_trait::async_trait;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Audiences, Authenticator, Credentials};
use crate::config::ConfigError;
use crate::outbound::OutboundError;
use crate::replies::{Key, Replies};
use crate::reviews::Reviews;

/// Of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of all tries together: upstream's for a look-up that requests share.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers kept, at most, twice over.
const MAX_KEPT: usize = 4096;

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
    reviews: Reviews,
    version: Version,
    /// How long an answer is kept, whatever it is.
    ttl: Duration,
    /// This server: whom requests' tokens must be for.
    own: Vec<String>,
    kept: Replies<Known>,
}

impl TokenWebhook {
    /// `file`: a kubeconfig.
    pub fn load(file: &Path, version: Version, ttl: Duration, own: Vec<String>) -> Result<Self, ConfigError> {
        let reviews = Reviews::load(file, TRY_TIMEOUT)?;
        Ok(Self { reviews, version, ttl, own, kept: Replies::new(MAX_KEPT) })
    }

    async fn ask(&self, token: &str, wanted: &[String]) -> Result<Known, ApiError> {
        let key = key(token, wanted);
        if let Some(known) = self.kept.get(&key, Instant::now()) {
            return Ok(known);
        }
        let review = json!({"apiVersion": self.version.api_version(), "kind": "TokenReview",
            "metadata": {"creationTimestamp": null}, "spec": {"token": token, "audiences": wanted},
            "status": {"user": {}}});
        let answer = self.reviews.post(&review, TIMEOUT, |_, _| {}).await.map_err(|error| failed(&error))?;
        let known = read(&answer["status"], wanted, &self.own);
        if !self.ttl.is_zero() {
            self.kept.put(key, known.clone(), Instant::now() + self.ttl);
        }
        Ok(known)
    }
}

/// Nobody is let in because somebody could not be asked.
fn failed(error: &OutboundError) -> ApiError {
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
fn read(status: &Value, wanted: &[String], own: &[String]) -> Known {
    if status["authenticated"] != true {
        let why = object::str_at(status, "error");
        if !why.is_empty() {
            tracing::debug!(why, "a webhook refused a token");
        }
        return None;
    }
    let named = strings(&status["audiences"]);
    let for_whom = if named.is_empty() { own } else { &named };
    let fitting: Vec<String> = wanted.iter().filter(|audience| for_whom.contains(audience)).cloned().collect();
    if fitting.is_empty() && !wanted.is_empty() {
        return None;
    }
    let extra = status["user"]["extra"].as_object().into_iter().flatten();
    let user = UserInfo {
        name: object::str_at(status, "user.username").to_owned(),
        uid: object::str_at(status, "user.uid").to_owned(),
        groups: strings(&status["user"]["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    };
    Some((user, fitting))
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
        let ann = |audiences: &[&str]| {
            json!({"authenticated": true, "audiences": audiences,
                "user": {"username": "ann", "uid": "u", "groups": ["g"], "extra": {"a/b": ["c"]}}})
        };
        let own = strings_of(&["api"]);
        for (status, wanted, fitting) in [
            (ann(&[]), &["api"][..], Some(&["api"][..])),
            (ann(&[]), &["vault"], None),
            (ann(&["vault"]), &["vault", "x"], Some(&["vault"])),
            (ann(&["vault"]), &["api"], None),
            (json!({"authenticated": false, "error": "no"}), &["api"], None),
            (json!({"user": {"username": "ann"}}), &["api"], None),
        ] {
            let known = read(&status, &strings_of(wanted), &own);
            assert_eq!(known.as_ref().map(|(_, fitting)| fitting.clone()), fitting.map(strings_of), "{status}");
            if let Some((user, _)) = known {
                assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "u"));
                assert_eq!((user.groups, user.extra["a/b"].clone()), (strings_of(&["g"]), strings_of(&["c"])));
            }
        }
    }

    #[test]
    fn keys_tell_questions_apart() {
        assert_ne!(key("a", &strings_of(&["b", "c"])), key("a", &strings_of(&["bc"])));
        assert_ne!(key("ab", &[]), key("a", &strings_of(&["b"])));
    }
}
