//! Paths that are not API resources: discovery, OpenAPI, version, health, metrics, keys, our own.

use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::{ApiError, Value};
use futures::TryStreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::chain::Call;
use crate::discovery::{self, Document};
use crate::negotiate::{self, Endpoint, Output};
use crate::respond::{self, JSON, Response};
use crate::served::method_not_allowed;
use crate::state::State;
use crate::{flow, health, metrics, zpages};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where `kontiki` adds to the API.
const OWN: &str = "/kontiki/v1/";

pub(crate) async fn dispatch(state: &Arc<State>, call: Call) -> Result<Response> {
    let full = call.path.text.clone();
    let path = if full.len() > 1 { full.trim_end_matches('/') } else { &full };
    if let Some(tail) = full.strip_prefix(OWN) {
        return own(state, call, tail).await;
    }
    if !matches!(*call.request.method(), Method::GET | Method::HEAD) {
        let known = path == "/" || paths(state).iter().any(|known| known == path);
        return Err(if known { method_not_allowed() } else { ApiError::no_such_path() });
    }
    for (endpoint, checks) in [
        ("readyz", &state.server.ready_checks),
        ("livez", &state.server.live_checks),
        ("healthz", &state.server.live_checks),
    ] {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(endpoint));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            let outcomes = health::outcomes(endpoint, checks, state.stop.is_cancelled());
            state.slis.record(endpoint, &outcomes);
            return health::respond(endpoint, rest.trim_start_matches('/'), &outcomes, &call.query);
        }
    }
    read(state, &call, path)
}

/// The methods of a path here.
pub(crate) fn allowed(path: &str) -> &'static [Method] {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const STATUS: &[Method] = &[Method::GET];
    const ASK: &[Method] = &[Method::POST];
    match path.strip_prefix(OWN) {
        None => READ,
        Some("status") => STATUS,
        Some(_) => ASK,
    }
}

fn read(state: &State, call: &Call, path: &str) -> Result<Response> {
    match path {
        "/" => Ok(respond::raw(&json!({"paths": paths(state)}))),
        "/version" => version(call),
        "/metrics" => {
            metrics::storage(&state.server.registry);
            if let Some(control) = &state.flow {
                control.observe();
            }
            Ok(respond::bytes(200, PROMETHEUS, (state.server.metrics)()))
        }
        "/metrics/slis" => Ok(respond::bytes(200, PROMETHEUS, state.slis.render())),
        "/openid/v1/jwks" => {
            let keys = state.server.registry.config.tokens.jwks().to_string();
            Ok(public(respond::bytes(200, "application/jwk-set+json", keys)))
        }
        "/.well-known/openid-configuration" => Ok(public(respond::bytes(200, JSON, openid(state).to_string()))),
        "/api" | "/apis" => discovery_root(state, call, path),
        _ if zpages::paths(state).any(|page| page == path) => zpages::respond(state, call, path),
        _ if path.starts_with(flow::PAGES) => {
            let page = state.flow.as_ref().and_then(|control| control.page(&path[flow::PAGES.len()..], &call.query));
            Ok(respond::text(200, page.ok_or_else(ApiError::no_such_path)?))
        }
        _ if path.starts_with("/openapi/") => state.openapi.respond(path, call),
        _ => {
            let document = state.discovery.legacy(path).ok_or_else(ApiError::no_such_path)?;
            legacy(call, document)
        }
    }
}

/// JSON and nothing else, as upstream.
fn version(call: &Call) -> Result<Response> {
    let kinds = negotiate::accepted(call.headers());
    match kinds.iter().any(|clause| matches!(clause.kind, JSON | "*/*")) {
        true => Ok(respond::raw(&discovery::version())),
        false => Err(negotiate::not_produced(JSON)),
    }
}

/// What a relying party needs to check ServiceAccount tokens.
fn openid(state: &State) -> Value {
    let tokens = &state.server.registry.config.tokens;
    let base = state.server.config.advertise_url.trim_end_matches('/');
    json!({"issuer": tokens.issuer(), "jwks_uri": format!("{base}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"]})
}

fn public(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

fn legacy(call: &Call, document: &Document) -> Result<Response> {
    if is_known(call.headers(), document) {
        return Ok(not_modified(document));
    }
    let output = negotiate::output(call.headers(), &call.query, Endpoint::Plain)?;
    Ok(tagged(respond::json(&output, 200, document.bytes.clone()), document))
}

/// `/api` and `/apis`: the aggregated form where it is asked for.
fn discovery_root(state: &State, call: &Call, path: &str) -> Result<Response> {
    let wanted = negotiate::aggregated_discovery(call.headers(), &call.query);
    let mut response = match wanted.zip(state.discovery.aggregated(path)) {
        Some((output, document)) => aggregated(&output, document, call.headers()),
        None => legacy(call, state.discovery.legacy(path).ok_or_else(ApiError::no_such_path)?)?,
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn aggregated(output: &Output, document: &Document, headers: &HeaderMap) -> Response {
    let mut response = match is_known(headers, document) {
        true => not_modified(document),
        false => tagged(respond::json(output, 200, document.bytes.clone()), document),
    };
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if let Some(Ok(kind)) = kind.map(|kind| HeaderValue::from_str(&format!("{kind};{}", discovery::AGGREGATED))) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// Whether the client has this document already.
pub(crate) fn is_known(headers: &HeaderMap, document: &Document) -> bool {
    let value = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == document.etag)
}

pub(crate) fn not_modified(document: &Document) -> Response {
    let mut response = http::Response::new(respond::full(""));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, document)
}

pub(crate) fn tagged(mut response: Response, document: &Document) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// What `/` lists.
fn paths(state: &State) -> Vec<String> {
    let fixed = [
        "/.well-known/openid-configuration",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ];
    let mut all: Vec<String> = fixed.iter().map(|path| (*path).to_owned()).collect();
    all.extend(zpages::paths(state).map(str::to_owned));
    all.extend(state.discovery.paths().map(str::to_owned));
    for (endpoint, checks) in [
        ("readyz", &state.server.ready_checks),
        ("livez", &state.server.live_checks),
        ("healthz", &state.server.live_checks),
    ] {
        all.push(format!("/{endpoint}"));
        let outcomes = health::outcomes(endpoint, checks, false);
        all.extend(outcomes.iter().map(|outcome| format!("/{endpoint}/{}", outcome.name)));
    }
    all.sort();
    all
}

fn sent(download: crate::Download) -> Response {
    let crate::Download { bytes, content } = download;
    let content = content.map_err(|error| Box::new(error) as respond::BoxError);
    let mut response = respond::with_body(200, "application/octet-stream", respond::streamed(content));
    response.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
    response
}

/// `/kontiki/v1/status`, and what the process has registered for POST.
async fn own(state: &Arc<State>, call: Call, tail: &str) -> Result<Response> {
    let output = negotiate::output(call.headers(), &call.query, Endpoint::Plain)?;
    match (call.request.method(), tail) {
        (&Method::GET, "status") => Ok(respond::value(&output, 200, &(state.server.status)())),
        (&Method::POST, tail) if tail != "status" => {
            let admin = state.server.admin.as_ref().ok_or_else(ApiError::no_such_path)?;
            if let Some(download) = admin.download(tail, &call.user).await {
                return download.map(sent);
            }
            let (head, body) = call.request.into_parts();
            let format = negotiate::body_format(&head.headers)?;
            let bytes = crate::body::read(&head.headers, body).await?;
            let body = if bytes.is_empty() { Value::Null } else { api_codec::decode::parse(format, &bytes)?.value };
            let answer = admin.call(tail, &call.user, body).await?;
            Ok(respond::value(&output, 200, &answer))
        }
        (_, "status") => Err(method_not_allowed()),
        _ => Err(ApiError::no_such_path()),
    }
}
