//! The request path in one canonical form, made before anyone decides anything by it.
//!
//! Authentication, authorization and storage all see the same segments: a path that could be read in
//! two ways (`//`, `.`, `..`, an encoded slash, NUL) is refused here, so there is no second form.
//! Only what follows `.../proxy/` is carried on as it came, because it belongs to someone else's server.

use api_machinery::error::Result;
use api_machinery::{ApiError, Reason};

/// Longer paths are refused (bytes). Upstream has no bound of its own; Go's server stops at 1 MiB of headers.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// A path in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath {
    /// Decoded, each a single segment; for `proxy` without the tail.
    pub segments: Vec<String>,
    /// Decoded, as non-resource authorization and dispatch compare it; a final slash is kept.
    pub text: String,
    /// What follows `/proxy`, still encoded, with its leading slash; `None` without `/proxy`.
    pub proxy_tail: Option<String>,
}

fn refuse(why: &str) -> ApiError {
    ApiError::new(400, Reason::BadRequest, format!("invalid request path: {why}"))
}

/// Decodes `%XX`; `None` for a malformed escape or what is then not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = bytes.get(at + 1..at + 3)?;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            out.push((digit(hex[0])? * 16 + digit(hex[1])?) as u8);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Encodes everything but unreserved characters, for one segment or one query value.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How many raw segments come before a proxy tail, `proxy` included.
fn proxy_head(raw: &[&str]) -> Option<usize> {
    let at = match raw {
        ["api", "v1", "nodes", _, "proxy", ..] => 5,
        ["api", "v1", "namespaces", _, "pods" | "services", _, "proxy", ..] => 7,
        _ => return None,
    };
    Some(at)
}

fn decode_segment(raw: &str) -> Result<String> {
    let text = percent_decode(raw).ok_or_else(|| refuse("malformed percent-encoding"))?;
    if text.is_empty() {
        return Err(refuse("empty segment"));
    }
    if text == "." || text == ".." {
        return Err(refuse("relative segment"));
    }
    if text.contains(['/', '\\', '%']) {
        return Err(refuse("encoded separator"));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("control character"));
    }
    Ok(text)
}

/// A proxied path may hold anything but a way out of it.
fn check_tail(raw: &str) -> Result<()> {
    for segment in raw.split('/') {
        let text = percent_decode(segment).ok_or_else(|| refuse("malformed percent-encoding"))?;
        let climbs = text.split(['/', '\\']).any(|part| part == "." || part == "..");
        if climbs || text.chars().any(char::is_control) {
            return Err(refuse("relative segment"));
        }
    }
    Ok(())
}

impl RequestPath {
    /// Reads the path of a request line. 400 for every form that has another spelling.
    pub(crate) fn parse(raw: &str) -> Result<Self> {
        if raw.len() > MAX_PATH_BYTES {
            return Err(ApiError::new(414, Reason::BadRequest, "the request path is too long"));
        }
        let rest = raw.strip_prefix('/').ok_or_else(|| refuse("not absolute"))?;
        if rest.is_empty() {
            return Ok(Self { segments: Vec::new(), text: "/".to_owned(), proxy_tail: None });
        }
        let all: Vec<&str> = rest.split('/').collect();
        let head = proxy_head(&all);
        let proxy_tail = head.map(|count| all[count..].iter().flat_map(|part| ["/", part]).collect::<String>());
        if let Some(tail) = &proxy_tail {
            check_tail(tail)?;
        }
        let mut own = &all[..head.unwrap_or(all.len())];
        let slash = head.is_none() && own.last() == Some(&"");
        if slash {
            own = &own[..own.len() - 1];
        }
        let segments = own.iter().map(|raw| decode_segment(raw)).collect::<Result<Vec<_>>>()?;
        let text = format!("/{}{}", segments.join("/"), if slash { "/" } else { "" });
        Ok(Self { segments, text, proxy_tail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_every_path() {
        let text = |raw: &str| RequestPath::parse(raw).map(|path| path.text);
        for (raw, want) in [
            ("/", "/"),
            ("/api/v1/pods", "/api/v1/pods"),
            ("/api/v1/pods/", "/api/v1/pods/"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            ),
            ("/api/v1/nodes/n1/proxy/a//b%2Fc", "/api/v1/nodes/n1/proxy"),
        ] {
            assert_eq!(text(raw).as_deref(), Ok(want), "{raw}");
        }
        for raw in [
            "",
            "api",
            "*",
            "//",
            "/api//v1",
            "/api/v1/..",
            "/api/./v1",
            "/api/%2e%2e/v1",
            "/api/v1/namespaces/%2E%2E/pods",
            "/api/v1/namespaces/a%2fb/pods",
            "/api/v1/pods/a%00b",
            "/api/v1/pods/%ff",
            "/api/v1/pods/%c0%af",
            "/api/v1/pods/%4",
            "/api/v1/pods/a%5cb",
            "/api/v1/pods/%252e",
            "/api/v1/nodes/n/proxy/../../secrets",
            "/api/v1/nodes/n/proxy/%2e%2e/x",
            "/api/v1/nodes/n/proxy/a%2f..%2fb",
            "/api/v1/nodes//proxy/x",
        ] {
            assert_eq!(text(raw).map_err(|error| error.code), Err(400), "{raw}");
        }
    }

    #[test]
    fn a_proxy_tail_stays_as_it_came() {
        let tail = |raw: &str| RequestPath::parse(raw).expect("parses").proxy_tail;
        assert_eq!(tail("/api/v1/namespaces/d/pods/p:80/proxy/x//y%2Fz/").as_deref(), Some("/x//y%2Fz/"));
        assert_eq!(tail("/api/v1/namespaces/d/services/https:s:/proxy/").as_deref(), Some("/"));
        assert_eq!(tail("/api/v1/namespaces/d/services/s/proxy").as_deref(), Some(""));
        assert_eq!(tail("/api/v1/namespaces/d/configmaps/c"), None);
    }
}
