//! The kubelet's HTTPS port: logs, exec, attach, port-forward, and a look at its pods.

mod auth;
mod bridge;
mod container_logs;
mod spdy;
mod streaming;
mod tunnel;
mod upstream;
mod usage;

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::AgentError;
use crate::agent::Node;
use auth::{Caller, Reviews, Wish};

/// Connections served at once.
const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;

static METRICS: OnceLock<Box<dyn Fn() -> String + Send + Sync>> = OnceLock::new();

/// How `/metrics` of every node of this process is written. Without it there is none.
pub fn set_metrics_renderer(render: impl Fn() -> String + Send + Sync + 'static) {
    // The first one stays: there is one recorder in a process.
    let _ = METRICS.set(Box::new(render));
}

/// Opens the port; the future serves it until the node is stopped.
pub(crate) async fn bind(node: Arc<Node>) -> Result<impl Future<Output = ()> + Send + 'static, AgentError> {
    let config = &node.config;
    let (Some((certificate, key)), Some(client_ca)) = (&config.serving_certificate, &config.client_ca) else {
        return Err(AgentError::Config("a port needs a serving certificate and a client CA".to_owned()));
    };
    // HTTP/1.1 only: every use of this port may become an upgrade.
    let tls = pki::reload::server_config(certificate, key, client_ca, false, &[b"http/1.1"])
        .map_err(|e| AgentError::Config(e.to_string()))?;
    let address = std::net::SocketAddr::new(config.node_ip, config.port);
    let listener =
        TcpListener::bind(address).await.map_err(|e| AgentError::Config(format!("listening on {address}: {e}")))?;
    Ok(serve(node, listener, tokio_rustls::TlsAcceptor::from(tls)))
}

async fn serve(node: Arc<Node>, listener: TcpListener, tls: tokio_rustls::TlsAcceptor) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let reviews = Arc::new(Reviews::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = node.stop.cancelled() => return,
        };
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match accepted {
            Ok((stream, _)) => {
                let (node, reviews, tls) = (node.clone(), reviews.clone(), tls.clone());
                tokio::spawn(async move {
                    connection(node, reviews, stream, tls).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(node: Arc<Node>, reviews: Arc<Reviews>, stream: TcpStream, tls: tokio_rustls::TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else { return };
    let who = auth::identify(stream.get_ref().1.peer_certificates());
    let service = hyper::service::service_fn(move |request| {
        let (node, reviews, who) = (node.clone(), reviews.clone(), who.clone());
        async move {
            Ok::<_, Infallible>(match admit(&node, &reviews, who, &request).await {
                Ok(()) => respond(node, request).await,
                Err(refusal) => refusal,
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the kubelet ended");
    }
}

/// Who is it, may they. `Err`: the answer, if not.
async fn admit(
    node: &Node,
    reviews: &Reviews,
    certified: Option<Caller>,
    request: &Request<Incoming>,
) -> Result<(), Answer> {
    let caller = match (certified, auth::bearer(request.headers())) {
        (Some(caller), _) => Some(caller),
        (None, Some(token)) => reviews.authenticate(node, token).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "asking whose token it is");
            None
        }),
        (None, None) => None,
    };
    let Some(caller) = caller else { return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized")) };
    let wish = Wish::of(request.method(), request.uri().path());
    match reviews.authorize(node, &caller, &wish).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let (verb, subresources) = (wish.verb, wish.subresources.join(" "));
            let message = format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])",
                caller.name
            );
            Err(text(StatusCode::FORBIDDEN, &message))
        }
        Err(error) => {
            let message = format!("Authorization error (user={}): {error}", caller.name);
            Err(text(StatusCode::INTERNAL_SERVER_ERROR, &message))
        }
    }
}

async fn respond(node: Arc<Node>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let get = request.method() == Method::GET;
    match parts.as_slice() {
        ["healthz", ..] if get => text(StatusCode::OK, "ok"),
        ["pods" | "runningpods"] if get => pods(&node),
        ["metrics", "resource"] if get => usage::metrics(&node).await,
        ["stats", "summary"] if get => usage::summary(&node).await,
        ["metrics"] if get && METRICS.get().is_some() => metrics(),
        ["containerLogs", namespace, pod, container] if get => {
            container_logs::serve(&node, namespace, pod, container, request.uri().query().unwrap_or(""))
        }
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            streaming::exec(&node, namespace, pod, container, request).await
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            streaming::attach(&node, namespace, pod, container, request).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            streaming::port_forward(&node, namespace, pod, request).await
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn pods(node: &Node) -> Answer {
    let items: Vec<_> = node
        .views()
        .iter()
        .map(|view| {
            let mut pod = (*view.pod).clone();
            pod.status = Some(view.status.clone());
            pod
        })
        .collect();
    let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    content(StatusCode::OK, "application/json", list.to_string())
}

fn metrics() -> Answer {
    let rendered = METRICS.get().map(|render| render()).unwrap_or_default();
    content(StatusCode::OK, "text/plain; version=0.0.4", rendered)
}

pub(crate) fn text(status: StatusCode, message: &str) -> Answer {
    content(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn content(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn streamed(stream: BoxStream<'static, Bytes>) -> Body {
    use futures::StreamExt as _;
    StreamBody::new(stream.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

/// Values of a query, percent-decoded, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |range| std::str::from_utf8(range).ok().and_then(|h| u8::from_str_radix(h, 16).ok());
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match bytes.get(at + 1..at + 3).and_then(hex) {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries() {
        let pairs = super::query("command=sh&command=-c&command=a%20b%2B+c&x");
        let flat: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(flat, ["command=sh", "command=-c", "command=a b+ c", "x="]);
    }
}
