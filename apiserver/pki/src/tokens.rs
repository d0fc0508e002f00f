//! ServiceAccount tokens: ES256 JWTs with upstream's claims; several keys, one of them signing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::authority::PkiError;
use crate::files;

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

/// Upstream's: a token may be used so many seconds before `nbf` and after `exp`, for clocks that differ, and after
/// the deletion of what it is bound to began.
pub const LEEWAY_SECONDS: i64 = 60;

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    iss: String,
    jti: String,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Private,
}

#[derive(Serialize, Deserialize)]
struct Private {
    namespace: String,
    serviceaccount: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Named>,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    uid: String,
}

impl Named {
    fn of(pair: &Option<(String, String)>) -> Option<Self> {
        pair.as_ref().map(|(name, uid)| Self { name: name.clone(), uid: uid.clone() })
    }
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Value,
}

pub struct TokenIssuer {
    issuer: String,
    api_audiences: Vec<String>,
    /// In order of file names; the last signs.
    keys: Vec<Key>,
    seen: Mutex<Seen>,
}

/// Claims whose signature was found good. Clients send the same token with every request, and the signature is
/// what costs.
#[derive(Default)]
struct Seen {
    young: HashMap<TokenHash, Arc<Claims>>,
    old: HashMap<TokenHash, Arc<Claims>>,
}

/// SHA-256: the cache holds no token.
type TokenHash = [u8; 32];

/// Tokens per generation of [`Seen`].
const MAX_SEEN: usize = 2_048;

impl Seen {
    /// What is asked for again survives the next generation.
    fn get(&mut self, hash: &TokenHash) -> Option<Arc<Claims>> {
        if let Some(claims) = self.young.get(hash) {
            return Some(claims.clone());
        }
        let claims = self.old.remove(hash)?;
        self.put(*hash, claims.clone());
        Some(claims)
    }

    fn put(&mut self, hash: TokenHash, claims: Arc<Claims>) {
        if self.young.len() >= MAX_SEEN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, claims);
    }
}

impl Key {
    fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let invalid = |error: &dyn std::fmt::Display| PkiError::Invalid(error.to_string());
        let pair = KeyPair::from_pem(pem)?;
        let spki = pair.subject_public_key_info();
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
        // Uncompressed point: 0x04, 32 bytes x, 32 bytes y.
        let point = pair.public_key_raw();
        if point.len() != 65 || point[0] != 4 {
            return Err(PkiError::Invalid("a service-account key must be ECDSA P-256".to_owned()));
        }
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        Ok(Self {
            encoding: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| invalid(&error))?,
            decoding: DecodingKey::from_ec_components(&x, &y).map_err(|error| invalid(&error))?,
            jwk: json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}),
            id,
        })
    }
}

impl TokenIssuer {
    /// Reads every `DIR/sa*.key`; the last by name signs, all verify. Makes `sa.key` where there is none.
    pub fn load_or_create(dir: &Path, issuer: &str, api_audiences: Vec<String>) -> Result<Self, PkiError> {
        let mut paths = key_files(dir)?;
        if paths.is_empty() {
            let path = dir.join("sa.key");
            files::write_private(&path, &KeyPair::generate()?.serialize_pem())?;
            paths.push(path);
        }
        let keys = paths.iter().map(|path| Key::from_pem(&files::read(path)?)).collect::<Result<_, _>>()?;
        Ok(Self { issuer: issuer.to_owned(), api_audiences, keys, seen: Mutex::default() })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether a token says that it is of this issuer. Nothing of it is checked: that tells who has to.
    pub fn claims_to_be_ours(&self, token: &str) -> bool {
        claimed_issuer(token).is_some_and(|issuer| issuer == self.issuer)
    }

    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// A signed token that ends `seconds` after `now`. `id` becomes `jti`.
    pub fn issue(
        &self,
        subject: &Subject,
        audiences: &[String],
        seconds: i64,
        now: Timestamp,
        id: &str,
    ) -> Result<String, PkiError> {
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: now.as_second() + seconds,
            iat: now.as_second(),
            nbf: now.as_second(),
            iss: self.issuer.clone(),
            jti: id.to_owned(),
            sub: format!("system:serviceaccount:{}:{}", subject.namespace, subject.service_account),
            kubernetes: Private {
                namespace: subject.namespace.clone(),
                serviceaccount: Named {
                    name: subject.service_account.clone(),
                    uid: subject.service_account_uid.clone(),
                },
                pod: Named::of(&subject.pod),
                node: Named::of(&subject.node),
                secret: Named::of(&subject.secret),
            },
        };
        let key = self.keys.last().ok_or_else(|| PkiError::Invalid("no signing key".to_owned()))?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(|error| PkiError::Invalid(error.to_string()))
    }

    /// Checks signature, issuer, times and that one of `audiences` fits. Only ES256 with one of our keys is
    /// accepted, whatever the header says. That the account, pod or secret still exists is the caller's to check.
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Verified, PkiError> {
        let hash: TokenHash = Sha256::digest(token).into();
        let seen = self.seen.lock().get(&hash);
        let claims = match seen {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.signed_claims(token)?);
                self.seen.lock().put(hash, claims.clone());
                claims
            }
        };
        self.fitting(&claims, audiences, now)
    }

    /// What a key of ours has signed.
    fn signed_claims(&self, token: &str) -> Result<Claims, PkiError> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| PkiError::Invalid(error.to_string()))?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        let named = header.kid.as_deref();
        let mut fitting = self.keys.iter().filter(|key| named.is_none_or(|id| id == key.id));
        let claims = fitting.find_map(|key| jsonwebtoken::decode(token, &key.decoding, &validation).ok());
        let none = || PkiError::Invalid("no key of ours signed this token".to_owned());
        claims.map(|data| data.claims).ok_or_else(none)
    }

    fn fitting(&self, claims: &Claims, audiences: &[String], now: Timestamp) -> Result<Verified, PkiError> {
        let refuse = |why: &str| Err(PkiError::Invalid(why.to_owned()));
        if claims.iss != self.issuer {
            return refuse("the token is of another issuer");
        }
        let seconds = now.as_second();
        if seconds > claims.exp.saturating_add(LEEWAY_SECONDS) {
            return refuse("the token has expired");
        }
        if seconds + LEEWAY_SECONDS < claims.nbf.max(claims.iat) {
            return refuse("the token is not valid yet");
        }
        let fitting: Vec<String> = claims.aud.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
        if fitting.is_empty() {
            return refuse("the token is for another audience");
        }
        let private = &claims.kubernetes;
        let pair = |named: &Option<Named>| named.as_ref().map(|named| (named.name.clone(), named.uid.clone()));
        let subject = Subject {
            namespace: private.namespace.clone(),
            service_account: private.serviceaccount.name.clone(),
            service_account_uid: private.serviceaccount.uid.clone(),
            pod: pair(&private.pod),
            node: pair(&private.node),
            secret: pair(&private.secret),
        };
        if claims.sub != format!("system:serviceaccount:{}:{}", subject.namespace, subject.service_account) {
            return refuse("subject and private claims differ");
        }
        Ok(Verified { subject, audiences: fitting, id: claims.jti.clone(), expires: claims.exp })
    }

    /// The document of `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()})
    }
}

/// `iss` of a JWT of which nothing has been checked; `None` for what is no JWT.
pub fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).ok().filter(|_| parts.next().is_none())?;
    serde_json::from_slice::<Issuer>(&payload).ok().map(|claims| claims.iss)
}

fn key_files(dir: &Path) -> Result<Vec<std::path::PathBuf>, PkiError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PkiError::Io { path: dir.display().to_string(), source }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| PkiError::Io { path: dir.display().to_string(), source })?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("sa") && name.ends_with(".key") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn issuer(dir: &Path) -> TokenIssuer {
        TokenIssuer::load_or_create(dir, "https://kubernetes.default.svc", vec!["api".into()]).expect("an issuer")
    }

    fn subject() -> Subject {
        Subject {
            namespace: "default".into(),
            service_account: "web".into(),
            service_account_uid: "u1".into(),
            pod: Some(("web-1".into(), "u2".into())),
            ..Subject::default()
        }
    }

    #[test]
    fn verifies_what_it_issued_and_nothing_else() {
        let dir = tempfile::tempdir().expect("dir");
        let ours = issuer(dir.path());
        let audience = vec!["api".to_owned()];
        let token = ours.issue(&subject(), &audience, 600, at(0), "id-1").expect("issues");
        assert_eq!(ours.verify(&token, &audience, at(5)).expect("verifies").subject, subject());

        let other = tempfile::tempdir().expect("dir");
        let flipped = format!("{}x", &token[..token.len() - 1]);
        let cases: [(&str, Result<Verified, PkiError>); 6] = [
            ("expired", ours.verify(&token, &audience, at(700))),
            ("not yet", ours.verify(&token, &audience, at(-100))),
            ("audience", ours.verify(&token, &["vault".to_owned()], at(5))),
            ("other key", issuer(other.path()).verify(&token, &audience, at(5))),
            ("bad signature", ours.verify(&flipped, &audience, at(5))),
            ("alg none", ours.verify("eyJhbGciOiJub25lIn0.e30.", &audience, at(5))),
        ];
        for (name, result) in cases {
            assert!(result.is_err(), "{name} must be refused");
        }
    }

    /// Signs whatever it is given with whatever header it is given.
    fn forged(key: &EncodingKey, header: &Header, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({"aud": ["api"], "exp": at(600).as_second(), "iat": at(0).as_second(),
            "nbf": at(0).as_second(), "iss": "https://kubernetes.default.svc", "jti": "x",
            "sub": "system:serviceaccount:default:web", "kubernetes.io": {"namespace": "default",
            "serviceaccount": {"name": "web", "uid": "u1"}}});
        change(&mut claims);
        jsonwebtoken::encode(header, &claims, key).expect("signs")
    }

    #[test]
    fn a23_tokens_that_only_look_like_ours_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let ours = issuer(dir.path());
        let key = ours.keys.last().expect("a key");
        let header = |alg: Algorithm, kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(alg) };
        let good = header(Algorithm::ES256, Some(&key.id));
        let refused = |token: &str| ours.verify(token, &["api".to_owned()], at(5)).is_err();
        assert!(!refused(&forged(&key.encoding, &good, |_| ())), "the control");
        assert!(!refused(&forged(&key.encoding, &header(Algorithm::ES256, None), |_| ())), "no kid: any key of ours");
        let pem = std::fs::read_to_string(dir.path().join("sa.key")).expect("a key");
        let public = KeyPair::from_pem(&pem).expect("a key").public_key_pem();
        let hmac = EncodingKey::from_secret(public.as_bytes());
        for (what, token) in [
            ("HS256 with the public key", forged(&hmac, &header(Algorithm::HS256, Some(&key.id)), |_| ())),
            ("an unknown kid", forged(&key.encoding, &header(Algorithm::ES256, Some("../../etc/passwd")), |_| ())),
            ("another issuer", forged(&key.encoding, &good, |claims| claims["iss"] = "https://other".into())),
            ("no audience", forged(&key.encoding, &good, |claims| claims["aud"] = json!([]))),
            ("another audience", forged(&key.encoding, &good, |claims| claims["aud"] = json!(["vault"]))),
            (
                "another subject",
                forged(&key.encoding, &good, |claims| {
                    claims["sub"] = "system:serviceaccount:kube-system:admin".into();
                }),
            ),
            ("from the future", forged(&key.encoding, &good, |claims| claims["iat"] = at(600).as_second().into())),
            (
                "unbound, of old",
                forged(&key.encoding, &good, |claims| {
                    *claims = json!({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:web",
                    "kubernetes.io/serviceaccount/namespace": "default"});
                }),
            ),
        ] {
            assert!(refused(&token), "{what}");
        }
    }

    #[test]
    fn who_a_token_says_it_is_of() {
        let dir = tempfile::tempdir().expect("dir");
        let ours = issuer(dir.path());
        let token = ours.issue(&subject(), &["api".to_owned()], 600, at(0), "a").expect("issues");
        assert!(ours.claims_to_be_ours(&token));
        for other in ["abc", "a.b.c", "a.e30.c", &format!("{token}.x"), ""] {
            assert_eq!(claimed_issuer(other), None, "{other}");
        }
    }

    #[test]
    fn a_new_key_signs_and_the_old_one_still_verifies() {
        let dir = tempfile::tempdir().expect("dir");
        let audience = vec!["api".to_owned()];
        let old = issuer(dir.path()).issue(&subject(), &audience, 600, at(0), "a").expect("issues");
        files::write_private(&dir.path().join("sa-2.key"), &KeyPair::generate().expect("key").serialize_pem())
            .expect("writes");
        let both = issuer(dir.path());
        assert!(both.verify(&old, &audience, at(1)).is_ok());
        assert_eq!(both.jwks()["keys"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_signature_is_checked_once() {
        let dir = tempfile::tempdir().expect("dir");
        let ours = issuer(dir.path());
        let audience = vec!["api".to_owned()];
        let token = ours.issue(&subject(), &audience, 600, at(0), "a").expect("issues");
        let held = || ours.seen.lock().young.values().map(Arc::as_ptr).collect::<Vec<_>>();
        ours.verify(&token, &audience, at(1)).expect("verifies");
        let first = held();
        ours.verify(&token, &audience, at(2)).expect("verifies");
        assert_eq!((first.len(), &first), (1, &held()), "the second time took what the first had found");
        // What depends on the request is looked at each time.
        assert!(ours.verify(&token, &audience, at(700)).is_err() && ours.verify(&token, &[], at(3)).is_err());
        assert!(ours.verify(&format!("{token}x"), &audience, at(3)).is_err());
        assert_eq!(held().len(), 1, "what is bad is not held");
    }

    #[test]
    fn what_is_seen_is_bounded_and_what_is_used_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let ours = issuer(dir.path());
        let token = ours.issue(&subject(), &["api".to_owned()], 600, at(0), "a").expect("issues");
        let claims = Arc::new(ours.signed_claims(&token).expect("ours"));
        let mut seen = Seen::default();
        let hash = |number: usize| -> TokenHash { Sha256::digest(number.to_string()).into() };
        for number in 0..10 * MAX_SEEN {
            seen.put(hash(number), claims.clone());
            assert!(seen.get(&hash(0)).is_some(), "after {number}");
            assert!(seen.young.len() + seen.old.len() <= 2 * MAX_SEEN);
        }
        assert!(seen.get(&hash(1)).is_none());
    }
}
