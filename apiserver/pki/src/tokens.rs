//! ServiceAccount tokens: ES256 JWTs with upstream's claims; several keys, one of them signing.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::authority::PkiError;

/// Who a token is for. Claims are `sub`, `aud`, `iss`, `exp`, `iat`, `nbf`, `jti`, `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub namespace: String,
    pub service_account: String,
    pub service_account_uid: String,
    /// (name, uid)
    pub pod: Option<(String, String)>,
    pub node: Option<(String, String)>,
    pub secret: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub subject: Subject,
    pub audiences: Vec<String>,
    /// `jti`
    pub id: String,
    pub expires: i64,
}

pub struct TokenIssuer {
    _private: (),
}

impl TokenIssuer {
    /// Reads every `DIR/sa*.key`; the last by name signs, all verify. Makes `sa.key` where there is none.
    pub fn load_or_create(_dir: &Path, _issuer: &str, _api_audiences: Vec<String>) -> Result<Self, PkiError> {
        todo!()
    }
    pub fn issuer(&self) -> &str {
        todo!()
    }
    pub fn api_audiences(&self) -> &[String] {
        todo!()
    }
    pub fn issue(
        &self,
        _subject: &Subject,
        _audiences: &[String],
        _seconds: i64,
        _now: Timestamp,
        _id: &str,
    ) -> Result<String, PkiError> {
        todo!()
    }
    /// Checks signature, issuer, times (no leeway beyond a minute) and that one of `audiences` fits.
    pub fn verify(&self, _token: &str, _audiences: &[String], _now: Timestamp) -> Result<Verified, PkiError> {
        todo!()
    }
    /// `/openid/v1/jwks`
    pub fn jwks(&self) -> serde_json::Value {
        todo!()
    }
}
