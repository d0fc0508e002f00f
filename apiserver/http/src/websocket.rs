//! WebSocket clients: browsers cannot set headers, so a token may come as a subprotocol; and a watch may be a
//! stream of messages.

use std::sync::Arc;

use api_codec::decode::Format;
use api_machinery::ApiError;
use api_machinery::error::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::connect::headers;
use crate::respond::{self, Response};
use crate::state::State;
use crate::watch::Watch;

/// A subprotocol that is a bearer token, base64url without padding.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// What a client of a watch may say at once (bytes): it has nothing to say.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers::upgrade(headers) == Some("websocket")
}

/// Subprotocols in order.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

/// The token among the subprotocols; 401 for what upstream refuses: two tokens, one that is not base64 or not text,
/// one without another protocol to agree on.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<Option<String>> {
    if !is_asked_for(headers) {
        return Ok(None);
    }
    let mut tokens = protocols(headers).filter_map(|protocol| protocol.strip_prefix(BEARER));
    let Some(token) = tokens.next() else { return Ok(None) };
    let others = protocols(headers).any(|protocol| !protocol.starts_with(BEARER));
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.filter(|_| others && tokens.next().is_none()) {
        Some(token) if token.is_empty() => Ok(None),
        Some(token) => Ok(Some(token)),
        None => Err(ApiError::unauthorized()),
    }
}

/// Leaves the token out of what a backend is sent.
pub(crate) fn strip_token(headers: &mut HeaderMap) {
    if !protocols(headers).any(|protocol| protocol.starts_with(BEARER)) {
        return;
    }
    let rest: Vec<&str> = protocols(headers).filter(|protocol| !protocol.starts_with(BEARER)).collect();
    let rest = HeaderValue::from_str(&rest.join(", ")).ok().filter(|rest| !rest.is_empty());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(rest) = rest {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    }
}

/// 101, with the first subprotocol that is not a token.
fn switching(headers: &HeaderMap) -> Result<Response> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| ApiError::bad_request("missing Sec-WebSocket-Key"))?;
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(ApiError::bad_request("unsupported Sec-WebSocket-Version"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(ApiError::internal)?;
    let mut response = http::Response::new(respond::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    let protocol = protocols(headers).find(|protocol| !protocol.starts_with(BEARER));
    if let Some(protocol) = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok()) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// Sends a watch as one message per event: text where it is JSON.
pub(crate) fn watch(state: &Arc<State>, mut request: Request<Incoming>, watch: Watch) -> Result<Response> {
    let response = switching(request.headers())?;
    let upgraded = hyper::upgrade::on(&mut request);
    let abort = state.abort.clone();
    state.tasks.spawn(async move {
        let sent = async {
            let upgraded = upgraded.await.map_err(std::io::Error::other)?;
            send(upgraded, watch).await.map_err(std::io::Error::other)
        };
        tokio::select! {
            () = abort.cancelled() => (),
            done = sent => if let Err(error) = done {
                tracing::debug!(%error, "a watch over a WebSocket ended");
            },
        }
    });
    Ok(response)
}

/// Until the watch ends or the client leaves. What the client says is read, so that its pings are answered.
async fn send(upgraded: Upgraded, mut watch: Watch) -> tokio_tungstenite::tungstenite::Result<()> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut out, mut client) = socket.split();
    loop {
        tokio::select! {
            said = client.next() => match said {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            },
            event = watch.next_event() => match event {
                Some(event) => out.send(message(watch.format(), &event)).await?,
                None => return out.close().await,
            },
        }
    }
}

/// A message has a length of its own: the one before protobuf is not sent.
fn message(format: Format, event: &[u8]) -> Message {
    match format {
        Format::Protobuf => Message::binary(event.get(4..).unwrap_or_default().to_vec()),
        _ => Message::text(String::from_utf8_lossy(event).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        for protocol in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, protocol.parse().expect("a header value"));
        }
        headers
    }

    fn encoded(token: &[u8]) -> String {
        format!("{BEARER}{}", URL_SAFE_NO_PAD.encode(token))
    }

    #[test]
    fn tokens() {
        let good = encoded("schlüssel".as_bytes());
        for (protocols, want) in [
            (vec![], Ok(None)),
            (vec!["v5.channel.k8s.io"], Ok(None)),
            (vec![good.as_str(), "base64.binary.k8s.io"], Ok(Some("schlüssel".to_owned()))),
            (vec![&format!("x, {good}")], Ok(Some("schlüssel".to_owned()))),
            (vec![good.as_str()], Err(401)),
            (vec![good.as_str(), good.as_str(), "x"], Err(401)),
            (vec![&format!("{BEARER}!!!"), "x"], Err(401)),
            (vec![&encoded(b"\xff\xfe"), "x"], Err(401)),
        ] {
            let read = bearer_token(&headers(&protocols)).map_err(|error| error.code);
            assert_eq!(read, want, "{protocols:?}");
        }
        let mut plain = headers(&[&good, "x"]);
        plain.remove(UPGRADE);
        assert_eq!(bearer_token(&plain), Ok(None), "not a WebSocket");
    }

    #[test]
    fn the_token_goes_no_further() {
        let good = encoded(b"secret");
        for (protocols, want) in
            [(vec![good.as_str(), "a", "b"], Some("a, b")), (vec![good.as_str()], None), (vec!["a,b"], Some("a,b"))]
        {
            let mut headers = headers(&protocols);
            strip_token(&mut headers);
            let left = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().expect("a text").to_owned());
            assert_eq!(left.as_deref(), want, "{protocols:?}");
        }
    }
}
