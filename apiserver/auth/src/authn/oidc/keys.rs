//! The keys of an issuer: found by its discovery document, kept, and fetched again when a token is signed by none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::config::authentication::Issuer;
use crate::outbound::Outbound;

/// Between two fetches for one issuer, at least: anybody can make a token that no key has signed.
const PAUSE: Duration = Duration::from_secs(1);
/// Keys of one issuer; more are not looked at.
const MAX_KEYS: usize = 100;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

pub(super) struct Key {
    id: Option<String>,
    pub(super) decoding: DecodingKey,
    family: AlgorithmFamily,
}

impl Key {
    /// Whether a token that names this key (or none) may be signed by it.
    pub(super) fn fits(&self, kid: Option<&str>, alg: Algorithm) -> bool {
        self.family.algorithms().contains(&alg) && kid.is_none_or(|kid| self.id.as_deref().is_none_or(|own| own == kid))
    }
}

/// Shared by all who check tokens of the issuer.
type KeySet = Arc<Vec<Key>>;

pub(super) struct Keys {
    client: Outbound,
    /// `iss` of the discovery document.
    issuer: String,
    discovery: String,
    known: ArcSwap<Vec<Key>>,
    /// Held by whoever fetches; when the last fetch ended.
    fetched: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(client: Outbound, issuer: &Issuer) -> Self {
        let own = format!("{}{WELL_KNOWN}", issuer.url.trim_end_matches('/'));
        let discovery = issuer.discovery_url.clone().filter(|url| !url.is_empty()).unwrap_or(own);
        Self {
            client,
            issuer: issuer.url.clone(),
            discovery,
            known: ArcSwap::from_pointee(Vec::new()),
            fetched: Mutex::new(None),
        }
    }

    pub(super) fn known(&self) -> KeySet {
        self.known.load_full()
    }

    /// Newer keys than `seen`: those that somebody else has fetched meanwhile, or those fetched now.
    pub(super) async fn fetch(&self, seen: &KeySet) -> Result<KeySet, String> {
        let mut fetched = self.fetched.lock().await;
        let known = self.known();
        if !Arc::ptr_eq(&known, seen) {
            return Ok(known);
        }
        if fetched.is_some_and(|last| last.elapsed() < PAUSE) {
            return Err("its issuer was asked for keys a moment ago".to_owned());
        }
        let keys = self.fetch_now().await;
        *fetched = Some(Instant::now());
        let keys = Arc::new(keys?);
        self.known.store(keys.clone());
        Ok(keys)
    }

    async fn fetch_now(&self) -> Result<Vec<Key>, String> {
        let document = self.client.get(&self.discovery).await.map_err(|error| error.to_string())?;
        let document: Discovery = serde_json::from_slice(&document).map_err(|error| error.to_string())?;
        if document.issuer != self.issuer {
            let (expected, found) = (&self.issuer, &document.issuer);
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {expected:?} got {found:?}"
            ));
        }
        let set = self.client.get(&document.jwks_uri).await.map_err(|error| error.to_string())?;
        let set: Value = serde_json::from_slice(&set).map_err(|error| error.to_string())?;
        Ok(read(&set))
    }
}

/// The keys of a set that we can use; others are for others.
fn read(set: &Value) -> Vec<Key> {
    let all = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().take(MAX_KEYS).filter_map(key).collect()
}

fn key(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    // A key for encryption signs nothing.
    if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let family = decoding.family();
    // A secret in a public set is nobody's signature.
    if matches!(family, AlgorithmFamily::Hmac) {
        return None;
    }
    Some(Key { id: jwk.common.key_id, decoding, family })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_public_signing_keys_count() {
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "a", "use": "sig", "alg": "ES256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
        let mut encryption = ec.clone();
        encryption["use"] = "enc".into();
        let mut unnamed = ec.clone();
        unnamed.as_object_mut().expect("an object").remove("kid");
        let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"});
        let keys = read(&json!({"keys": [ec, encryption, secret, {"kty": "later"}, 7, unnamed]}));
        let ids: Vec<Option<&str>> = keys.iter().map(|key| key.id.as_deref()).collect();
        assert_eq!(ids, [Some("a"), None]);
        assert!(keys[0].fits(Some("a"), Algorithm::ES256) && keys[0].fits(None, Algorithm::ES256));
        assert!(!keys[0].fits(Some("b"), Algorithm::ES256) && !keys[0].fits(Some("a"), Algorithm::RS256));
        assert!(keys[1].fits(Some("b"), Algorithm::ES256));
        assert!(read(&json!({})).is_empty());
    }
}
