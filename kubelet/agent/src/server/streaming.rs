//! exec, attach and port-forward: the runtime's streaming server does the work; what the client speaks
//! and what the server speaks are brought together here.
//!
//! Clients come with SPDY (passed through), WebSocket v4/v5 channels (bridged to SPDY, which alone can
//! close stdin by itself), or SPDY tunnelled in a WebSocket (unpacked).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kubelet_core::pods;
use kubelet_cri::{CriError, cri};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::bridge::{Streams, bridge};
use super::{Answer, full, query, text, tunnel, upstream};
use crate::agent::Node;
use crate::worker::View;

/// Largest WebSocket message taken.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// What a client asked for.
struct Wish {
    streams: Streams,
    command: Vec<String>,
    ports: Vec<i32>,
}

fn wish(request: &Request<Incoming>) -> Wish {
    let mut wish = Wish { streams: Streams::default(), command: Vec::new(), ports: Vec::new() };
    for (key, value) in query(request.uri().query().unwrap_or("")) {
        let truth = matches!(value.as_str(), "1" | "true");
        match key.as_str() {
            "command" => wish.command.push(value),
            "stdin" | "input" => wish.streams.stdin |= truth,
            "stdout" | "output" => wish.streams.stdout |= truth,
            "stderr" | "error" => wish.streams.stderr |= truth,
            "tty" => wish.streams.tty |= truth,
            "port" | "ports" => wish.ports.extend(value.split(',').filter_map(|p| p.parse::<i32>().ok())),
            _ => {}
        }
    }
    // A terminal has one output.
    wish.streams.stderr &= !wish.streams.tty;
    wish
}

#[expect(clippy::result_large_err, reason = "the error is the answer itself, moved once")]
fn running(node: &Node, namespace: &str, name: &str, container: &str) -> Result<(Arc<View>, String), Answer> {
    let view = node.pod(namespace, name).ok_or_else(|| text(StatusCode::NOT_FOUND, "pod does not exist"))?;
    let found = view.containers.iter().find(|(n, _, _, running)| n == container && *running);
    let id = found.map(|(_, id, ..)| id.clone());
    match id {
        Some(id) => Ok((view, id)),
        None => Err(text(StatusCode::NOT_FOUND, &format!("container not found ({container:?})"))),
    }
}

fn runtime_failure(error: &CriError) -> Answer {
    match error {
        CriError::Unsupported(_) => text(StatusCode::NOT_IMPLEMENTED, &error.to_string()),
        CriError::NotFound(_) => text(StatusCode::NOT_FOUND, &error.to_string()),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(super) async fn exec(
    node: &Node,
    namespace: &str,
    name: &str,
    container: &str,
    request: Request<Incoming>,
) -> Answer {
    let (_, id) = match running(node, namespace, name, container) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let wish = wish(&request);
    let asked = cri::ExecRequest {
        container_id: id,
        cmd: wish.command,
        tty: wish.streams.tty,
        stdin: wish.streams.stdin,
        stdout: wish.streams.stdout,
        stderr: wish.streams.stderr,
    };
    match node.runtime.exec(asked).await {
        Ok(url) => command(&url, wish.streams, request).await,
        Err(error) => runtime_failure(&error),
    }
}

pub(super) async fn attach(
    node: &Node,
    namespace: &str,
    name: &str,
    container: &str,
    request: Request<Incoming>,
) -> Answer {
    let (view, id) = match running(node, namespace, name, container) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let mut wish = wish(&request);
    // The container decides whether there is a terminal.
    wish.streams.tty = pods::find_container(&view.pod, container).is_some_and(|(_, c)| c.tty == Some(true));
    wish.streams.stderr &= !wish.streams.tty;
    let asked = cri::AttachRequest {
        container_id: id,
        tty: wish.streams.tty,
        stdin: wish.streams.stdin,
        stdout: wish.streams.stdout,
        stderr: wish.streams.stderr,
    };
    match node.runtime.attach(asked).await {
        Ok(url) => command(&url, wish.streams, request).await,
        Err(error) => runtime_failure(&error),
    }
}

/// Connects a client of exec or attach with the runtime's URL.
async fn command(url: &str, streams: Streams, request: Request<Incoming>) -> Answer {
    if !is_websocket(request.headers()) {
        return pass_through(url, request).await;
    }
    let offered = protocols(request.headers());
    let Some(protocol) = CHANNELS.into_iter().find(|p| offered.iter().any(|o| o == p)) else {
        return text(
            StatusCode::BAD_REQUEST,
            &format!("unable to upgrade: protocols {offered:?} are not known, but {CHANNELS:?}"),
        );
    };
    let mut headers = spdy_headers("v4.channel.k8s.io");
    // Older ones a runtime may fall back to have no exit codes: not offered.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    let server = match upstream::upgrade(url, &headers).await {
        Ok(server) => server.io,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    websocket(request, protocol, move |client| async move {
        if let Err(error) = bridge(client, server, streams).await {
            tracing::debug!(error, "a command's streams ended");
        }
    })
}

pub(super) async fn port_forward(node: &Node, namespace: &str, name: &str, request: Request<Incoming>) -> Answer {
    let Some(view) = node.pod(namespace, name) else { return text(StatusCode::NOT_FOUND, "pod does not exist") };
    let Some(sandbox) = &view.sandbox else { return text(StatusCode::NOT_FOUND, "pod has no running sandbox") };
    let wish = wish(&request);
    let url = match node.runtime.port_forward(sandbox, wish.ports).await {
        Ok(url) => url,
        Err(error) => return runtime_failure(&error),
    };
    let tunnelled = is_websocket(request.headers()) && protocols(request.headers()).iter().any(|p| p == TUNNEL);
    if !tunnelled {
        return pass_through(&url, request).await;
    }
    let server = match upstream::upgrade(&url, &spdy_headers("portforward.k8s.io")).await {
        Ok(server) => server.io,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    websocket(request, TUNNEL, move |client| async move {
        if let Err(error) = tunnel::run(client, server).await {
            tracing::debug!(error, "a port-forward ended");
        }
    })
}

fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert("x-stream-protocol-version", HeaderValue::from_static(protocol));
    headers
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let value = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    value.is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

/// The runtime speaks what the client does: their bytes are exchanged.
async fn pass_through(url: &str, mut request: Request<Incoming>) -> Answer {
    let mut headers = request.headers().clone();
    headers.remove(header::HOST);
    let server = match upstream::upgrade(url, &headers).await {
        Ok(server) => server,
        Err(error) => return text(StatusCode::BAD_REQUEST, &error),
    };
    let client = hyper::upgrade::on(&mut request);
    let mut server_io = server.io;
    tokio::spawn(async move {
        match client.await {
            Ok(client) => {
                // Either side going away ends both.
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut server_io).await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a client"),
        }
    });
    let mut answer = Response::new(full(bytes::Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = server.headers;
    answer
}

pub(super) type Client = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Accepts a WebSocket with this protocol and hands it over.
fn websocket<F, T>(mut request: Request<Incoming>, protocol: &'static str, run: F) -> Answer
where
    F: FnOnce(Client) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(client) => {
                let config =
                    WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
                run(WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(config)).await).await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a client"),
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(full(bytes::Bytes::new()));
    answer.unwrap_or_else(|e| text(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()))
}
