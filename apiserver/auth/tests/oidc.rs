//! ID tokens of an issuer that is there: a discovery document and a key set over HTTPS, and all that can be wrong with
//! them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{self, Elsewhere, Reply, json as reply};
use api_auth::authn::oidc::{ALGORITHMS, Oidc};
use api_auth::authn::{Authenticator, Credentials};
use api_auth::config::authentication::{AuthenticationConfiguration, JwtAuthenticator};
use api_machinery::UserInfo;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pki::authority::{Authority, Request};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;

/// A key pair and what a key set says of it.
#[derive(Clone)]
struct Key {
    id: &'static str,
    encoding: EncodingKey,
    jwk: Value,
    public_pem: Vec<u8>,
}

fn key(id: &'static str) -> Key {
    let now = common::now();
    let request = Request { common_name: "key".to_owned(), client: true, days: 1, ..Request::default() };
    let pair = Authority::create("keys", now).expect("a CA").issue(&request, now).expect("a pair");
    let pem =
        x509_parser::pem::Pem::iter_from_buffer(pair.certificate_pem.as_bytes()).next().expect("one").expect("PEM");
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&pem.contents).expect("a certificate");
    // Uncompressed point: 0x04, 32 bytes x, 32 bytes y.
    let point = certificate.public_key().subject_public_key.data.to_vec();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    Key {
        id,
        encoding: EncodingKey::from_ec_pem(pair.key_pem.as_bytes()).expect("an EC key"),
        jwk: json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": part(1..33), "y": part(33..65)}),
        public_pem: pair.certificate_pem.into_bytes(),
    }
}

/// Its keys may be exchanged.
struct Issuer {
    server: Elsewhere,
    keys: Arc<Mutex<Value>>,
}

async fn issuer(keys: &[&Key]) -> Issuer {
    let keys = Arc::new(Mutex::new(set(keys)));
    let shown = keys.clone();
    let url = Arc::new(Mutex::new(String::new()));
    let own = url.clone();
    let server = Elsewhere::start(move |asked| {
        let url = own.lock().expect("no panic").clone();
        Some(match asked.path.as_str() {
            "/.well-known/openid-configuration" => reply(json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
            "/keys" => reply(shown.lock().expect("no panic").clone()),
            _ => Reply(404, String::new(), String::new()),
        })
    })
    .await;
    *url.lock().expect("no panic") = server.url.clone();
    Issuer { server, keys }
}

fn set(keys: &[&Key]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
}

fn configured(servers: &[&Elsewhere]) -> Vec<JwtAuthenticator> {
    let of = |server: &&Elsewhere| {
        json!({"issuer": {"url": server.url, "certificateAuthority": server.ca_pem, "audiences": ["k8s", "other"],
                "audienceMatchPolicy": "MatchAny"},
            "claimMappings": {"username": {"claim": "sub", "prefix": "o:"}, "groups": {"claim": "groups", "prefix": ""}}})
    };
    let document = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": servers.iter().map(of).collect::<Vec<_>>()});
    AuthenticationConfiguration::parse(&document.to_string(), "https://own").expect("a configuration").jwt
}

fn checker(servers: &[&Elsewhere]) -> Arc<Oidc> {
    Arc::new(Oidc::new(&configured(servers), &ALGORITHMS, common::now).expect("issuers"))
}

fn claims(issuer: &str) -> Value {
    let now = common::now().as_second();
    json!({"iss": issuer, "aud": "k8s", "sub": "ann", "exp": now + 600, "iat": now, "groups": ["dev"], "jti": "7"})
}

fn signed(key: &Key, claims: &Value) -> String {
    let header = Header { kid: Some(key.id.to_owned()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &key.encoding).expect("signs")
}

/// The user, nobody, or the code of the refusal.
async fn who(oidc: &Arc<Oidc>, token: &str) -> Result<Option<UserInfo>, u16> {
    let credentials = Credentials { bearer_token: Some(token.to_owned()), ..Credentials::default() };
    oidc.authenticate(&credentials).await.map_err(|error| error.code)
}

#[tokio::test]
async fn each_issuer_by_its_own_keys() {
    let (one, two) = (key("one"), key("two"));
    let (first, second) = (issuer(&[&one]).await, issuer(&[&two]).await);
    let oidc = checker(&[&first.server, &second.server]);
    oidc.warm().await;
    let user = who(&oidc, &signed(&one, &claims(&first.server.url))).await.expect("good").expect("known");
    assert_eq!((user.name.as_str(), user.groups), ("o:ann", vec!["dev".to_owned()]));
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    assert!(matches!(who(&oidc, &signed(&two, &claims(&second.server.url))).await, Ok(Some(_))));
    assert_eq!(who(&oidc, &signed(&one, &claims(&second.server.url))).await, Err(401), "another's key");
    assert_eq!(who(&oidc, &signed(&one, &claims("https://elsewhere"))).await, Ok(None), "not ours to judge");
    assert_eq!(who(&oidc, "not.a.token").await, Ok(None));
    assert_eq!(who(&oidc, "opaque").await, Ok(None));
    // What is no more configured is not judged any more, and what stays keeps its keys.
    let asked = second.server.count();
    oidc.exchange(&configured(&[&second.server]), &ALGORITHMS).expect("exchanged");
    assert_eq!(who(&oidc, &signed(&one, &claims(&first.server.url))).await, Ok(None));
    assert!(matches!(who(&oidc, &signed(&two, &claims(&second.server.url))).await, Ok(Some(_))));
    assert_eq!(second.server.count(), asked, "no key was fetched again");
}

#[tokio::test]
async fn a31_what_is_wrong_with_a_token() {
    let own = key("one");
    let there = issuer(&[&own]).await;
    let oidc = checker(&[&there.server]);
    let url = there.server.url.clone();
    let with = |field: &str, value: Value| {
        let mut changed = claims(&url);
        changed[field] = value;
        signed(&own, &changed)
    };
    let now = common::now().as_second();
    let good = signed(&own, &claims(&url));
    assert!(matches!(who(&oidc, &good).await, Ok(Some(_))), "the control");
    assert!(matches!(who(&oidc, &with("aud", json!(["x", "other"]))).await, Ok(Some(_))), "one of several");
    let hmac = EncodingKey::from_secret(&own.public_pem);
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    let symmetric = jsonwebtoken::encode(&header, &claims(&url), &hmac).expect("signs");
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let payload = head.split_once('.').expect("two parts").1;
    let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    let flipped = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for (what, token) in [
        ("another audience", with("aud", json!("vault"))),
        ("audiences that are none", with("aud", json!([]))),
        ("an audience that is no text", with("aud", json!({"k8s": true}))),
        ("expired", with("exp", json!(now - 1))),
        ("without an end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 3600))),
        ("a user that is no text", with("sub", json!(["ann"]))),
        ("HS256 with the public key", symmetric),
        ("alg none", unsigned),
        ("another signature", flipped),
    ] {
        assert_eq!(who(&oidc, &token).await, Err(401), "{what}");
    }
    assert_eq!(
        who(&oidc, &with("iss", json!(format!("{url}/")))).await,
        Ok(None),
        "a trailing slash is another issuer"
    );
}

#[tokio::test]
async fn keys_are_exchanged_without_restart() {
    let (old, new) = (key("old"), key("new"));
    let there = issuer(&[&old]).await;
    let oidc = checker(&[&there.server]);
    assert!(matches!(who(&oidc, &signed(&old, &claims(&there.server.url))).await, Ok(Some(_))));
    *there.keys.lock().expect("no panic") = set(&[&new]);
    let token = signed(&new, &claims(&there.server.url));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while who(&oidc, &token).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the new key was never fetched");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(who(&oidc, &signed(&old, &claims(&there.server.url))).await, Err(401), "the old key is gone");
    // Tokens that nobody signed do not make us a nuisance to the issuer.
    let before = there.server.count();
    let stranger = key("new");
    for _ in 0..50 {
        assert_eq!(who(&oidc, &signed(&stranger, &claims(&there.server.url))).await, Err(401));
    }
    assert!(there.server.count() - before <= 10, "asked {} times", there.server.count() - before);
}

#[tokio::test]
async fn a31_issuers_that_misbehave() {
    let own = key("one");
    let good = issuer(&[&own]).await;
    let trap = Elsewhere::start(|_| Some(reply("{}"))).await;
    let trapped = trap.url.clone();
    let redirects =
        Elsewhere::start(move |_| Some(Reply(302, format!("location: {trapped}/secret"), String::new()))).await;
    let huge = Elsewhere::start(|_| Some(reply("x".repeat(2 << 20)))).await;
    let liar =
        Elsewhere::start(|_| Some(reply(json!({"issuer": "https://other", "jwks_uri": "https://other/keys"})))).await;
    let slow = Elsewhere::start(|_| None).await;
    let oidc = checker(&[&good.server, &redirects, &huge, &liar, &slow]);
    for server in [&redirects, &huge, &liar] {
        assert_eq!(who(&oidc, &signed(&own, &claims(&server.url))).await, Err(401), "{}", server.url);
    }
    assert_eq!(trap.count(), 0, "nobody is sent where only we can go");
    // One that says nothing keeps its own tokens waiting, and nobody else.
    let token = signed(&own, &claims(&slow.url));
    let waiting = tokio::spawn({
        let oidc = oidc.clone();
        async move { who(&oidc, &token).await }
    });
    let token = signed(&own, &claims(&good.server.url));
    let others = who(&oidc, &token);
    let others = tokio::time::timeout(Duration::from_secs(5), others).await.expect("in time");
    assert!(matches!(others, Ok(Some(_))));
    let refused = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("bounded").expect("no panic");
    assert_eq!(refused, Err(401));
}
