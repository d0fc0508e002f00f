//! Which headers pass between client and backend. Pure.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, UPGRADE};

use crate::websocket;

/// About one connection only (RFC 9110 7.6.1), and what such a proxy must not repeat.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Who the client is to *us*; a backend that saw these could act as the client, or believe them.
fn is_identity(name: &str) -> bool {
    name == "authorization" || name.starts_with("impersonate-") || name.starts_with("x-remote-")
}

/// Removes what belongs to this connection, also what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// A client's headers as a backend may see them.
pub(crate) fn for_backend(headers: &HeaderMap) -> HeaderMap {
    let mut out = headers.clone();
    strip_hop_by_hop(&mut out);
    let identity: Vec<HeaderName> = out.keys().filter(|name| is_identity(name.as_str())).cloned().collect();
    for name in identity {
        out.remove(name);
    }
    out.remove(http::header::HOST);
    websocket::strip_token(&mut out);
    out
}

/// The protocol a request wants to switch to, when it is one that is let through.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<&'static str> {
    let wants = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")));
    let protocol = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let known = ["websocket", "SPDY/3.1"].into_iter().find(|known| protocol.eq_ignore_ascii_case(known));
    known.filter(|_| wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn nothing_of_the_client_leaks() {
        let headers = map(&[
            ("accept", "text/html"),
            ("authorization", "Bearer x"),
            ("impersonate-user", "admin"),
            ("x-remote-user", "admin"),
            ("x-remote-extra-a", "b"),
            ("connection", "keep-alive, x-secret"),
            ("x-secret", "1"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("host", "api"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("cookie", "kept"),
        ]);
        let mut left: Vec<String> = for_backend(&headers).keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["accept", "cookie"]);
    }

    #[test]
    fn only_known_protocols_are_upgraded_to() {
        assert_eq!(upgrade(&map(&[("connection", "Upgrade"), ("upgrade", "WebSocket")])), Some("websocket"));
        assert_eq!(upgrade(&map(&[("connection", "keep-alive, upgrade"), ("upgrade", "SPDY/3.1")])), Some("SPDY/3.1"));
        assert_eq!(upgrade(&map(&[("connection", "Upgrade"), ("upgrade", "h2c")])), None);
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
    }
}
