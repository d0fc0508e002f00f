//! Service account tokens for pods: asked for, kept, and renewed at 80 % of their life.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use kubelet_core::pods;

use super::payload::Source;
use crate::clock;

/// Renewed after a day at the latest.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of one pod, by audience and wished life.
#[derive(Default)]
pub(super) struct Tokens {
    kept: HashMap<(String, i64), Kept>,
}

struct Kept {
    token: String,
    renew: Timestamp,
    expires: Timestamp,
}

impl Tokens {
    pub(super) async fn get(&mut self, source: &Source<'_>, audience: &str, seconds: i64) -> Result<String, String> {
        let key = (audience.to_owned(), seconds);
        let now = clock::now();
        if let Some(kept) = self.kept.get(&key).filter(|k| now < k.renew) {
            return Ok(kept.token.clone());
        }
        match request(source, audience, seconds, now).await {
            Ok(kept) => {
                let token = kept.token.clone();
                self.kept.insert(key, kept);
                Ok(token)
            }
            Err(error) => match self.kept.get(&key).filter(|k| now < k.expires) {
                // Still good: the next refresh tries again.
                Some(kept) => Ok(kept.token.clone()),
                None => Err(error),
            },
        }
    }
}

async fn request(source: &Source<'_>, audience: &str, seconds: i64, now: Timestamp) -> Result<Kept, String> {
    let (namespace, name, uid) = pods::identity(source.pod);
    let account = pods::spec(source.pod)
        .and_then(|s| s.service_account_name.as_deref())
        .filter(|a| !a.is_empty())
        .unwrap_or("default");
    let audiences = if audience.is_empty() { Vec::new() } else { vec![audience.to_owned()] };
    let body = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
            }),
        }),
        ..Default::default()
    };
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let answer: TokenRequest =
        source.node.client.post(&path, &body).await.map_err(|e| format!("failed to fetch token: {e}"))?;
    let status = answer.status.ok_or("failed to fetch token: the server sent none")?;
    let (Some(token), Some(expires)) = (status.token, status.expiration_timestamp) else {
        return Err("failed to fetch token: the server sent none".to_owned());
    };
    let expires = expires.0;
    let life = expires.duration_since(now);
    let renew = now.checked_add((life * 4 / 5).min(MAX_AGE)).unwrap_or(expires);
    Ok(Kept { token, renew, expires })
}
