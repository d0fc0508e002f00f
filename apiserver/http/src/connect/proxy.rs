//! `nodes/NAME/proxy`, `pods/NAME/proxy`, `services/NAME/proxy`: HTTP to what they name.

use std::net::SocketAddr;
use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource, Reason, Value};
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use crate::chain::Call;
use crate::connect::address::{self, Named};
use crate::connect::backend::{self, Transport};
use crate::connect::{headers, seen};
use crate::respond::{self, BoxError, Response};
use crate::served::method_not_allowed;
use crate::state::State;

/// What upstream routes to a proxy.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

pub(crate) async fn respond(state: &Arc<State>, call: Call) -> Result<Response> {
    if !METHODS.contains(call.request.method()) {
        return Err(method_not_allowed());
    }
    let named = address::split(&call.info.name)?;
    let (address, transport) = locate(state, &call, &named)?;
    if let Some(location) = with_slash(&call) {
        return Ok(moved(&location));
    }
    let base = call.path.text.clone();
    let tail = call.path.proxy_tail.as_deref().filter(|tail| !tail.is_empty()).unwrap_or("/");
    let target = match call.request.uri().query() {
        Some(query) => format!("{tail}?{query}"),
        None => tail.to_owned(),
    };
    if headers::upgrade(call.headers()).is_some() {
        let counted = call.long_running();
        return backend::tunnel(state, call.request, address, transport, &target, counted).await;
    }
    let mut own = headers::for_backend(call.headers());
    forwarded(&mut own, call.headers(), &base, tail);
    let (head, body) = call.request.into_parts();
    let body = body.map_err(|error| Box::new(error) as BoxError).boxed_unsync();
    let request = backend::request(head.method, address, &target, own, body)?;
    let answer = state.backends.send(state, address, transport, request).await?;
    if answer.status().is_redirection() && transport == Transport::Kubelet {
        return Err(ApiError::new(502, Reason::Unknown, "the kubelet answered with a redirect"));
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ApiError::new(502, Reason::Unknown, "the backend switched to a protocol that nobody asked for"));
    }
    let (mut head, body) = answer.into_parts();
    headers::strip_hop_by_hop(&mut head.headers);
    rewrite_location(&mut head.headers, &base);
    Ok(http::Response::from_parts(head, backend::passed(body)))
}

/// Where a page is that is named without its final slash: its relative links would lead elsewhere.
fn with_slash(call: &Call) -> Option<HeaderValue> {
    let reads = matches!(*call.request.method(), Method::GET | Method::HEAD);
    let names_nothing = call.path.proxy_tail.as_deref().is_none_or(str::is_empty);
    if !reads || !names_nothing || headers::upgrade(call.headers()).is_some() {
        return None;
    }
    let uri = call.request.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::from_str(&format!("{}/{query}", uri.path())).ok()
}

fn moved(location: &HeaderValue) -> Response {
    let mut response = http::Response::new(respond::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location.clone());
    response
}

fn locate(state: &State, call: &Call, named: &Named<'_>) -> Result<(SocketAddr, Transport)> {
    let transport = if named.https { Transport::TlsUnchecked } else { Transport::Plain };
    let namespace = call.info.namespace.as_str();
    match call.info.resource.as_str() {
        "nodes" => {
            let mut address = address::kubelet(&*seen(state, "nodes", "", named.name)?)?;
            let port = named.port.parse().ok().filter(|port| *port != address.port());
            if let Some(port) = port {
                address.set_port(port);
            }
            // Another port than the kubelet's gets no credentials of ours.
            let transport = if port.is_some() { transport } else { Transport::Kubelet };
            Ok((address::check_proxy(address)?, transport))
        }
        "pods" => Ok((address::pod(&*seen(state, "pods", namespace, named.name)?, named.port)?, transport)),
        _ => {
            let service = seen(state, "services", namespace, named.name)?;
            let port = address::service_port(&service, named.port)?;
            Ok((endpoint(state, namespace, named.name, port)?, transport))
        }
    }
}

/// One of a service's ready endpoints, taken in turn.
fn endpoint(state: &State, namespace: &str, service: &str, port: &str) -> Result<SocketAddr> {
    let resource = GroupResource::new("discovery.k8s.io", "endpointslices");
    let slices = state.server.registry.cache.list(&resource, Some(namespace));
    let values: Vec<Arc<Value>> = slices.objects.iter().map(|object| object.value()).collect();
    let own: Vec<&Value> = values
        .iter()
        .map(|value| &**value)
        .filter(|value| api_machinery::object::label(value, "kubernetes.io/service-name") == Some(service))
        .collect();
    let all = address::endpoints(&own, port);
    let at = state.ids.below(all.len() as u64);
    let at = usize::try_from(at).unwrap_or(0);
    all.get(at).copied().ok_or_else(|| address::no_endpoints(service))
}

fn forwarded(own: &mut HeaderMap, client: &HeaderMap, base: &str, tail: &str) {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            own.insert(name, value);
        }
    };
    put("x-forwarded-uri", &format!("{base}{tail}"));
    put("x-forwarded-proto", "https");
    let host = client.get(http::header::HOST).and_then(|value| value.to_str().ok());
    if let Some(host) = host {
        put("x-forwarded-host", host);
    }
}

/// A redirect within the backend stays within the proxied path.
fn rewrite_location(headers: &mut HeaderMap, base: &str) {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let rewritten = HeaderValue::from_str(&format!("{base}{location}"));
    if location.starts_with('/')
        && !location.starts_with("//")
        && let Ok(value) = rewritten
    {
        headers.insert(LOCATION, value);
    }
}
