//! Who may use the kubelet: API servers and those who may do everything, and whom the API server says may.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, Method, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::agent::Node;
use crate::api::ApiFailure;

/// How long answers of the API server hold, as upstream.
const TOKEN_HOLDS: Duration = Duration::from_secs(120);
const ALLOWED_HOLDS: Duration = Duration::from_secs(300);
const DENIED_HOLDS: Duration = Duration::from_secs(30);
/// Answers remembered at most, of each kind.
const MAX_REMEMBERED: usize = 256;

/// Whom a request is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    uid: Option<String>,
    groups: Vec<String>,
}

/// Names the API server's client certificate may have.
const API_SERVERS: &[&str] = &["kube-apiserver-kubelet-client", "system:kube-apiserver"];

impl Caller {
    /// Without asking anyone: also while no API server answers.
    fn may_do_all(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters") || API_SERVERS.contains(&self.name.as_str())
    }
}

/// Whom a client certificate names; TLS has checked that our CA signed it. `None`: no certificate, or one
/// that names nobody.
pub(super) fn identify(chain: Option<&[CertificateDer<'_>]>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(Caller { name, uid: None, groups })
}

/// A request's token.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// What somebody wants of this node, in the words of a review.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) verb: &'static str,
    /// Any of them is enough.
    pub(super) subresources: &'static [&'static str],
}

impl Wish {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
        // A WebSocket is opened with GET: to run something is `create` by any method, where upstream lets `get` do.
        let verb = if matches!(first, "exec" | "attach" | "portForward") { "create" } else { verb };
        let subresources: &[&str] = match first {
            "stats" => &["stats"],
            "metrics" => &["metrics"],
            "logs" => &["log"],
            "healthz" => &["healthz", "proxy"],
            "pods" | "runningpods" => &["pods", "proxy"],
            _ => &["proxy"],
        };
        Self { verb, subresources }
    }
}

/// What the API server said, for a while.
#[derive(Default)]
pub(super) struct Reviews {
    tokens: Mutex<HashMap<String, (Instant, Option<Caller>)>>,
    wishes: Mutex<HashMap<(String, Wish), (Instant, bool)>>,
}

impl Reviews {
    /// Whose token it is.
    pub(super) async fn authenticate(&self, node: &Node, token: &str) -> Result<Option<Caller>, ApiFailure> {
        if let Some((_, known)) = self.tokens.lock().get(token).filter(|(until, _)| Instant::now() < *until) {
            return Ok(known.clone());
        }
        let spec = TokenReviewSpec { token: token.to_owned(), ..Default::default() };
        let review = TokenReview { spec, ..Default::default() };
        let answer: TokenReview = node.client.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
        let caller = caller(answer);
        let holds = if caller.is_some() { TOKEN_HOLDS } else { Duration::ZERO };
        remember(&mut self.tokens.lock(), token.to_owned(), (Instant::now() + holds, caller.clone()), |kept| kept.0);
        Ok(caller)
    }

    /// Whether the caller may do it.
    pub(super) async fn authorize(&self, node: &Node, caller: &Caller, wish: &Wish) -> Result<bool, ApiFailure> {
        if caller.may_do_all() {
            return Ok(true);
        }
        // Groups too: the same name may come back in others.
        let key = (format!("{}\n{}", caller.name, caller.groups.join("\n")), wish.clone());
        if let Some((_, known)) = self.wishes.lock().get(&key).filter(|(until, _)| Instant::now() < *until) {
            return Ok(*known);
        }
        let mut allowed = false;
        for subresource in wish.subresources {
            allowed = allowed || ask(node, caller, wish.verb, subresource).await?;
        }
        let holds = if allowed { ALLOWED_HOLDS } else { DENIED_HOLDS };
        remember(&mut self.wishes.lock(), key, (Instant::now() + holds, allowed), |kept| kept.0);
        Ok(allowed)
    }
}

fn remember<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: V, until: impl Fn(&V) -> Instant) {
    if map.len() >= MAX_REMEMBERED {
        let now = Instant::now();
        map.retain(|_, kept| now < until(kept));
    }
    if map.len() < MAX_REMEMBERED {
        map.insert(key, value);
    }
}

fn caller(review: TokenReview) -> Option<Caller> {
    let status = review.status.filter(|status| status.authenticated == Some(true))?;
    let user = status.user?;
    Some(Caller { name: user.username?, uid: user.uid, groups: user.groups.unwrap_or_default() })
}

async fn ask(node: &Node, caller: &Caller, verb: &str, subresource: &str) -> Result<bool, ApiFailure> {
    let wished = ResourceAttributes {
        version: Some("v1".to_owned()),
        resource: Some("nodes".to_owned()),
        subresource: Some(subresource.to_owned()),
        name: Some(node.config.node_name.clone()),
        verb: Some(verb.to_owned()),
        ..Default::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(caller.name.clone()),
        uid: caller.uid.clone(),
        groups: Some(caller.groups.clone()),
        resource_attributes: Some(wished),
        ..Default::default()
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer: SubjectAccessReview = node.client.post(path, &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_in_the_words_of_reviews() {
        let cases = [
            (Method::GET, "/metrics/resource", "get", &["metrics"][..]),
            (Method::GET, "/stats/summary", "get", &["stats"]),
            (Method::GET, "/pods", "get", &["pods", "proxy"]),
            (Method::POST, "/exec/n/p/c", "create", &["proxy"]),
            (Method::GET, "/exec/n/p/c", "create", &["proxy"]),
            (Method::GET, "//attach/n/p/c", "create", &["proxy"]),
            (Method::GET, "/metricsfoo", "get", &["proxy"]),
        ];
        for (method, path, verb, subresources) in cases {
            assert_eq!(Wish::of(&method, path), Wish { verb, subresources }, "{path}");
        }
    }

    #[test]
    fn tokens_of_requests() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(with("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(with("Basic abc"), None);
        assert_eq!(with("Bearer "), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
