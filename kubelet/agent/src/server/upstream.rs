//! Upgraded connections to the runtime's streaming server.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Upgraded {
    pub(super) headers: HeaderMap,
    pub(super) io: TokioIo<hyper::upgrade::Upgraded>,
}

/// Asks the server behind `url` to switch protocols as `headers` say.
pub(super) async fn upgrade(url: &str, headers: &HeaderMap) -> Result<Upgraded, String> {
    tokio::time::timeout(TIMEOUT, attempt(url, headers))
        .await
        .unwrap_or_else(|_| Err("the runtime does not answer".to_owned()))
}

async fn attempt(url: &str, headers: &HeaderMap) -> Result<Upgraded, String> {
    let text = |e: &dyn std::fmt::Display| format!("the runtime's streaming server: {e}");
    let uri: http::Uri = url.parse().map_err(|e| text(&e))?;
    let authority = uri.authority().ok_or_else(|| format!("the runtime named the URL {url:?}"))?.to_string();
    let stream = TcpStream::connect(authority.as_str()).await.map_err(|e| text(&e))?;
    stream.set_nodelay(true).map_err(|e| text(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    tokio::spawn(connection.with_upgrades());
    // A WebSocket begins with a GET, SPDY with a POST.
    let websocket = headers.get(header::UPGRADE).is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let method = if websocket { Method::GET } else { Method::POST };
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|e| text(&e))?;
    *request.headers_mut() = headers.clone();
    request.headers_mut().insert(header::HOST, authority.parse().map_err(|e| text(&e))?);
    let mut response = sender.send_request(request).await.map_err(|e| text(&e))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body =
            Limited::new(response.into_body(), 64 * 1024).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        return Err(format!("unable to upgrade: {status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    let io = hyper::upgrade::on(&mut response).await.map_err(|e| text(&e))?;
    Ok(Upgraded { headers: response.headers().clone(), io: TokioIo::new(io) })
}
