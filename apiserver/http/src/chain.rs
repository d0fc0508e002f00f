//! The way of a request. [`answer`] reads top to bottom: canonical path, what is asked, who asks, audit is opened,
//! on whose behalf, whether there is room, whether they may; then it is dispatched. [`handle`] closes audit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use api_auth::authn::Credentials;
use api_machinery::error::Result;
use api_machinery::{ApiError, Reason, UserInfo};
use api_registry::Notes;
use api_schema::Resource;
use http::header::{ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Trail};
use crate::flow::{Asked, Classified, Seat};
use crate::impersonate::impersonate;
use crate::metrics::{self, Labels, LongRunning};
use crate::negotiate;
use crate::path::RequestPath;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::respond::{self, Response};
use crate::state::State;
use crate::{authorize, deprecated, inflight, nonresource, options, resources, served, warnings, websocket};

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
    pub address: SocketAddr,
    pub front_proxy: FrontProxy,
    /// Cancel to finish what is open and close: clients that fail to authenticate get no multiplexing.
    pub close: CancellationToken,
}

/// An authorized request, ready to be dispatched.
pub(crate) struct Call {
    pub path: RequestPath,
    pub query: Query,
    pub info: RequestInfo,
    /// Where `info` is about one that is served.
    pub resource: Option<&'static Resource>,
    pub user: UserInfo,
    pub labels: Labels,
    /// Of what its client is warned.
    pub notes: Arc<Notes>,
    /// Where it is audited.
    pub trail: Option<Arc<Trail>>,
    /// Where it is worked on.
    pub room: Room,
    /// Of one that goes on without its client: cancelled when that does not wait any more.
    pub gone: Option<CancellationToken>,
    /// So that the bodies of all calls do not take all memory: see [`crate::body`].
    pub _weight: Option<OwnedSemaphorePermit>,
    pub request: Request<Incoming>,
}

impl Call {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Counted and audited until it is dropped.
    pub(crate) fn long_running(&self) -> LongRunning {
        self.labels.long_running(self.trail.clone())
    }
}

/// What the end of a request needs to know of it, filled in as far as the chain came.
#[derive(Default)]
struct Seen {
    system_client: &'static str,
    labels: Option<Labels>,
    long_running: bool,
    /// What is said of it, whatever is answered.
    notes: Arc<Notes>,
    trail: Option<Arc<Trail>>,
    classified: Option<Classified>,
}

const MAX_AUDIT_ID_BYTES: usize = 64;

/// Answers any request; refusals become `Status` objects.
pub(crate) async fn handle(state: Arc<State>, peer: Arc<Peer>, mut request: Request<Incoming>) -> Response {
    let started = Instant::now();
    if !state.compresses {
        // Nobody is told off for asking: what is not compressed is always acceptable.
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let audit_id = audit_id(&state, request.headers());
    let query = Query::parse(request.uri().query()).unwrap_or_default();
    let output = negotiate::output_or_json(request.headers(), &query);
    let mut seen = Seen::default();
    let answer = answer(&state, &peer, request, &audit_id, &mut seen).await;
    let mut response = answer.unwrap_or_else(|error| {
        if error.code == 401 {
            peer.close.cancel();
        }
        if let Some(trail) = &seen.trail {
            trail.failed(&error);
        }
        let mut refusal = respond::error(&output, &error);
        if error.code == 405 {
            tell_allowed(&state, &method, &uri, &mut refusal);
        }
        refusal
    });
    warnings::write(response.headers_mut(), &seen.notes.warnings());
    finish(&mut response, &audit_id, seen.classified.as_ref());
    if let Some(labels) = &seen.labels {
        let bytes = response.body().size_hint().exact();
        labels.answered(response.status().as_u16(), started.elapsed(), seen.system_client, bytes, seen.long_running);
    }
    if let Some(trail) = seen.trail.take() {
        response = trail.finish(response).await;
    }
    if method == Method::HEAD { without_body(response) } else { response }
}

/// What a path takes instead of the method that it does not.
fn tell_allowed(state: &State, method: &Method, uri: &Uri, refusal: &mut Response) {
    let (Ok(path), Ok(query)) = (RequestPath::parse(uri.path()), Query::parse(uri.query())) else { return };
    let of_resource = served::allowed(state.server.registry.schema, &path, &query);
    let allowed = of_resource.unwrap_or_else(|| nonresource::allowed(&path.text).to_vec());
    if allowed.contains(method) {
        return;
    }
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        refusal.headers_mut().insert(ALLOW, names);
    }
}

async fn answer(
    state: &Arc<State>,
    peer: &Peer,
    mut request: Request<Incoming>,
    audit_id: &HeaderValue,
    seen: &mut Seen,
) -> Result<Response> {
    let path = RequestPath::parse(request.uri().path())?;
    let query = Query::parse(request.uri().query())?;
    let info = RequestInfo::new(request.method(), &path, &query)?;
    let resource = info.resource(state.server.registry.schema);
    let labels = Labels::new(&info, resource, query.get("dryRun").is_some());
    seen.labels = Some(labels.clone());
    seen.long_running = info.is_long_running();

    let asker = identify(state, peer, &request, audit_id, &info, seen).await?;
    strip_identity(state, request.headers_mut());
    let audited = seen.trail.as_ref().map(|trail| (trail.clone(), asker.clone()));
    let authorizer = &*state.server.authorizer;
    let user = impersonate(authorizer, asker, &info, request.headers()).await?;
    if let Some((trail, _)) = audited.filter(|(_, asker)| *asker != user) {
        trail.impersonates(&user);
    }
    seen.system_client = metrics::system_client(&user);
    let deadline = options::deadline(&query);
    let may_take = *deadline.as_ref().unwrap_or(&options::REQUEST_TIMEOUT);
    let asked = Asked { info: &info, user: &user, query: &query, deadline: may_take };
    let room = enter(state, &asked, &mut seen.classified).await?;
    authorize::request(authorizer, &user, &info, seen.trail.as_deref()).await?;
    if let Some(text) = deprecated::warning(resource, &info) {
        seen.notes.warn(text);
    }

    let long_running = info.is_long_running();
    let deadline = deadline?;
    let (notes, trail) = (seen.notes.clone(), seen.trail.clone());
    let call =
        Call { path, query, info, resource, user, labels, notes, trail, room, gone: None, _weight: None, request };
    let answer = dispatch(state.clone(), call);
    if long_running {
        return answer.await;
    }
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
        // As upstream: what was found until then is not told.
        seen.notes = Arc::default();
        Err(timed_out())
    })
}

/// A place to work in, until the answer is ready, also when nobody waits for it any more; sending it is not counted.
pub(crate) enum Room {
    Seat { _seat: Option<Seat> },
    Bound { _seat: inflight::Seat },
}

impl Room {
    /// Nobody waits for it.
    pub(crate) const OUTSIDE: Self = Self::Seat { _seat: None };
}

/// Waits for room: with priority and fairness, or for one of two bounds without it.
async fn enter(state: &State, asked: &Asked<'_>, told: &mut Option<Classified>) -> Result<Room> {
    let Some(flow) = &state.flow else {
        return state.inflight.seat(asked.info, asked.user).map(|seat| Room::Bound { _seat: seat });
    };
    let (entered, classified) = flow.enter(state, asked).await;
    *told = classified;
    entered.map(|seat| Room::Seat { _seat: seat })
}

/// The same for a request that gave its place to others while its body was on its way.
pub(crate) async fn enter_again(state: &State, info: &RequestInfo, user: &UserInfo, query: &Query) -> Result<Room> {
    let asked = Asked { info, user, query, deadline: options::deadline(query)? };
    enter(state, &asked, &mut None).await
}

/// Who asks; opens audit, also for those of whom nobody knows.
async fn identify(
    state: &State,
    peer: &Peer,
    request: &Request<Incoming>,
    audit_id: &HeaderValue,
    info: &RequestInfo,
    seen: &mut Seen,
) -> Result<UserInfo> {
    let received = state.now();
    let uri = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let audit_id = audit_id.to_str().unwrap_or("-");
    let head = audit::Head { audit_id, received, uri, headers: request.headers(), info };
    let found = authenticate(state, peer, request.headers(), &info.path).await;
    match &found {
        Ok(user) => seen.trail = audit::open(state, peer, &head, user).await?,
        Err(error) if error.code == 401 => audit::refused(state, peer, &head).await,
        Err(_) => {}
    }
    found
}

/// A write that is audited goes on when its client leaves: its record says what became of it.
async fn dispatch(state: Arc<State>, mut call: Call) -> Result<Response> {
    let Some(trail) = call.trail.clone() else { return work(state, call).await };
    if !call.info.is_mutating() || call.info.is_long_running() {
        return audited(state, call, &trail).await;
    }
    // What comes of a write is audited also when its client does not wait for it.
    let gone = CancellationToken::new();
    call.gone = Some(gone.clone());
    let _leaves = gone.drop_guard();
    let (tracker, own) = (state.clone(), trail.clone());
    let working = async move { audited(state, call, &own).await };
    match tracker.tasks.spawn(working).await {
        Ok(answer) => answer,
        Err(error) => {
            trail.panicked(&error.to_string());
            let text = "This request caused apiserver to panic. Look in the logs for details.";
            Err(ApiError::new(500, Reason::InternalError, text))
        }
    }
}

/// What is said of the request meanwhile is in its record, too.
async fn audited(state: Arc<State>, call: Call, trail: &Trail) -> Result<Response> {
    let notes = call.notes.clone();
    let answer = work(state, call).await;
    for (key, value) in notes.annotations() {
        trail.annotate(&key, &value);
    }
    trail.answered(answer).await
}

async fn work(state: Arc<State>, call: Call) -> Result<Response> {
    match call.info.is_resource {
        true => resources::dispatch(&state, call).await,
        false => nonresource::dispatch(&state, call).await,
    }
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

fn credentials(state: &State, peer: &Peer, headers: &HeaderMap, path: &str) -> Result<Credentials> {
    let client_certificate = match &peer.client {
        Client::Certified(der) => Some(der.clone()),
        Client::Stranger | Client::Refused => None,
    };
    let bearer_token = match bearer_token(headers) {
        Some(token) => Some(token),
        None => websocket::bearer_token(headers)?,
    };
    let front_proxy = front_proxy(state, peer, headers)?;
    Ok(Credentials { client_certificate, bearer_token, front_proxy, path: path.to_owned() })
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
async fn authenticate(state: &State, peer: &Peer, headers: &HeaderMap, path: &str) -> Result<UserInfo> {
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

/// Names of levels and schemas are not for everyone: clients are told their uids, as upstream.
fn finish(response: &mut Response, audit_id: &HeaderValue, classified: Option<&Classified>) {
    let headers = response.headers_mut();
    for (name, uid) in classified.into_iter().flat_map(Classified::headers) {
        if let Ok(uid) = HeaderValue::from_str(uid) {
            headers.insert(name, uid);
        }
    }
    headers.insert("audit-id", audit_id.clone());
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
}

/// HEAD: the headers of the answer to GET.
fn without_body(response: Response) -> Response {
    response.map(|_| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
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
