//! The way of a request. [`answer`] reads top to bottom: canonical path, what is asked, who asks, on whose
//! behalf, whether there is room, whether they may; then it is dispatched.

use std::sync::Arc;
use std::time::Instant;

use api_auth::authn::Credentials;
use api_machinery::error::Result;
use api_machinery::{ApiError, Reason, UserInfo};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio_util::sync::CancellationToken;

use crate::impersonate::impersonate;
use crate::metrics::{self, Labels};
use crate::negotiate;
use crate::path::RequestPath;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::respond::{self, Response};
use crate::state::State;
use crate::{authorize, deprecated, nonresource, options, resources, websocket};

/// What TLS says of a client.
pub(crate) enum Client {
    Stranger,
    /// DER of a certificate that the client CA vouches for.
    Certified(Vec<u8>),
    /// It has a certificate that says nothing to us. Another credential may still be good.
    Refused,
}

/// Whether the headers that name a user may be believed: the certificate is a front proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrontProxy {
    No,
    Yes,
}

/// The other end of a connection.
pub(crate) struct Peer {
    pub client: Client,
    pub front_proxy: FrontProxy,
    /// Cancel to finish what is open and close: clients that fail to authenticate get no multiplexing.
    pub close: CancellationToken,
}

/// An authorized request, ready to be dispatched.
pub(crate) struct Call {
    pub path: RequestPath,
    pub query: Query,
    pub info: RequestInfo,
    pub user: UserInfo,
    pub labels: Labels,
    pub request: Request<Incoming>,
}

impl Call {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }
}

/// What the end of a request needs to know of it, filled in as far as the chain came.
#[derive(Default)]
struct Seen {
    system_client: &'static str,
    labels: Option<Labels>,
    long_running: bool,
    /// What is said of the version that was asked for.
    deprecated: Option<&'static str>,
}

const MAX_AUDIT_ID_BYTES: usize = 64;

/// Answers any request; refusals become `Status` objects.
pub(crate) async fn handle(state: Arc<State>, peer: Arc<Peer>, request: Request<Incoming>) -> Response {
    let started = Instant::now();
    let head = request.method() == Method::HEAD;
    let audit_id = audit_id(&state, request.headers());
    let query = Query::parse(request.uri().query()).unwrap_or_default();
    let output = negotiate::output_or_json(request.headers(), &query);
    let mut seen = Seen::default();
    let answer = answer(&state, &peer, request, &mut seen).await;
    let mut response = answer.unwrap_or_else(|error| {
        if error.code == 401 {
            peer.close.cancel();
        }
        respond::error(&output, &error)
    });
    if let Some(warning) = seen.deprecated {
        add_warnings(&mut response, &[warning]);
    }
    finish(&mut response, &audit_id);
    if let Some(labels) = &seen.labels {
        let bytes = response.body().size_hint().exact();
        labels.answered(response.status().as_u16(), started.elapsed(), seen.system_client, bytes, seen.long_running);
    }
    if head { without_body(response) } else { response }
}

async fn answer(state: &Arc<State>, peer: &Peer, mut request: Request<Incoming>, seen: &mut Seen) -> Result<Response> {
    let path = RequestPath::parse(request.uri().path())?;
    let query = Query::parse(request.uri().query())?;
    let info = RequestInfo::new(request.method(), &path, &query)?;
    let labels = Labels::new(&info, state.server.registry.schema, query.get("dryRun").is_some());
    seen.labels = Some(labels.clone());
    seen.long_running = info.is_long_running();

    let user = authenticate(state, peer, request.headers(), &path).await?;
    strip_identity(state, request.headers_mut());
    let authorizer = &*state.server.authorizer;
    let user = impersonate(authorizer, user, &info, request.headers()).await?;
    seen.system_client = metrics::system_client(&user);
    let _seat = state.inflight.seat(&info, &user)?;
    authorize::request(authorizer, &user, &info).await?;
    seen.deprecated = deprecated::warning(&info);

    let long_running = info.is_long_running();
    let deadline = options::deadline(&query)?;
    let call = Call { path, query, info, user, labels, request };
    let answer = async {
        if call.info.is_resource {
            resources::dispatch(state, call).await
        } else {
            nonresource::dispatch(state, call).await
        }
    };
    if long_running {
        return answer.await;
    }
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> ApiError {
    let text = "Timeout: request did not complete within the allotted timeout";
    ApiError::new(504, Reason::Timeout, text)
}

/// Of `Authorization: Bearer`. What is not UTF-8 is still a token, one that no method knows: it is refused and
/// does not make its sender anonymous.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    let header = String::from_utf8_lossy(headers.get(AUTHORIZATION)?.as_bytes());
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn credentials(state: &State, peer: &Peer, headers: &HeaderMap, path: &RequestPath) -> Result<Credentials> {
    let client_certificate = match &peer.client {
        Client::Certified(der) => Some(der.clone()),
        Client::Stranger | Client::Refused => None,
    };
    let bearer_token = match bearer_token(headers) {
        Some(token) => Some(token),
        None => websocket::bearer_token(headers)?,
    };
    let front_proxy = front_proxy(state, peer, headers)?;
    Ok(Credentials { client_certificate, bearer_token, front_proxy, path: path.text.clone() })
}

/// Whom a front proxy names.
fn front_proxy(state: &State, peer: &Peer, headers: &HeaderMap) -> Result<Option<UserInfo>> {
    let Some(config) = state.server.config.front_proxy.as_ref().filter(|_| peer.front_proxy == FrontProxy::Yes) else {
        return Ok(None);
    };
    let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    config.headers.user(&all)
}

/// Takes out of a request what only a front proxy may say: nobody further on believes it, or passes it on.
fn strip_identity(state: &State, headers: &mut HeaderMap) {
    let Some(config) = &state.server.config.front_proxy else { return };
    let named: Vec<_> = headers.keys().filter(|name| config.headers.is_identity(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// 401 when credentials are bad, or none are known and anonymous requests are off.
async fn authenticate(state: &State, peer: &Peer, headers: &HeaderMap, path: &RequestPath) -> Result<UserInfo> {
    let started = Instant::now();
    let credentials = credentials(state, peer, headers, path)?;
    let nothing_else = credentials.bearer_token.is_none() && credentials.front_proxy.is_none();
    // Who shows a bad certificate and nothing else is not anonymous.
    let found = match matches!(peer.client, Client::Refused) && nothing_else {
        true => Err(ApiError::unauthorized()),
        false => state.server.authenticator.authenticate(&credentials).await,
    };
    let result = match &found {
        Ok(Some(_)) => "success",
        Ok(None) => "failure",
        Err(_) => "error",
    };
    metrics::authenticated(result, started.elapsed());
    found?.ok_or_else(ApiError::unauthorized)
}

/// The client's `Audit-ID` where it is a fit one, else a new one.
fn audit_id(state: &State, headers: &HeaderMap) -> HeaderValue {
    let own = headers.get("audit-id").filter(|value| !value.is_empty() && value.len() <= MAX_AUDIT_ID_BYTES);
    let own = own.filter(|value| value.as_bytes().iter().all(u8::is_ascii_graphic)).cloned();
    own.or_else(|| state.ids.next().parse().ok()).unwrap_or(HeaderValue::from_static("-"))
}

fn finish(response: &mut Response, audit_id: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert("audit-id", audit_id.clone());
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
}

/// HEAD: the headers of the answer to GET.
fn without_body(response: Response) -> Response {
    response.map(|_| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// Adds `Warning: 299 - "..."`, one per text; what cannot stand in a header is left out.
pub(crate) fn add_warnings(response: &mut Response, warnings: &[impl AsRef<str>]) {
    /// Warnings beyond this many bytes are dropped, as upstream drops them.
    const MAX_BYTES: usize = 4096;
    let mut bytes = 0;
    for warning in warnings {
        let text: String = warning.as_ref().chars().filter(|char| !char.is_control()).collect();
        let text = format!("299 - \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        bytes += text.len();
        if bytes > MAX_BYTES {
            return;
        }
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append("warning", value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens() {
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
            bearer_token(&headers)
        };
        assert_eq!(read(b"Bearer abc"), Some("abc".to_owned()));
        assert_eq!(read(b"bearer  abc "), Some("abc".to_owned()));
        assert_eq!(read("Bearer schlüssel".as_bytes()), Some("schlüssel".to_owned()));
        assert!(read(b"Bearer k\xfcche").is_some(), "not UTF-8 is not anonymous");
        for none in ["Bearer", "Bearer ", "Basic abc", ""] {
            assert_eq!(read(none.as_bytes()), None, "{none:?}");
        }
    }
}
