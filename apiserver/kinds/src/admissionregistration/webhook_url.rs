//! URLs of webhooks, read as Go's `net/url` reads them.

use api_machinery::quote::quoted;
use api_machinery::{ErrorList, Value};

use crate::at::At;

const FORM: &str = "; desired format: https://host[/path]";

/// `https`, with a host, and nothing but a path after it. Also of conversion webhooks.
pub(crate) fn validate(url: &At<'_>, errors: &mut ErrorList) {
    let parts = match Parts::of(url.str()) {
        Ok(parts) => parts,
        Err(why) => return url.required(errors, &format!("url must be a valid URL: {why}{FORM}")),
    };
    let mut wrong = |shown: &str, detail: &str| errors.invalid(&url.path(), &Value::from(shown), detail);
    if parts.scheme != "https" {
        wrong(&parts.scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if parts.host.is_empty() {
        wrong(parts.host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = parts.user {
        wrong(user, "user information is not permitted in the URL");
    }
    if !parts.fragment.is_empty() {
        wrong(parts.fragment, "fragments are not permitted in the URL");
    }
    if !parts.query.is_empty() {
        wrong(parts.query, "query parameters are not permitted in the URL");
    }
}

#[derive(Default)]
struct Parts<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let said = |rest: &str, why: String| format!("parse {}: {why}", quoted(rest));
        let mut parts = Self::before_fragment(rest).map_err(|why| said(rest, why))?;
        check_escapes(fragment).map_err(|why| said(text, why))?;
        parts.fragment = fragment;
        Ok(parts)
    }

    fn before_fragment(text: &'a str) -> Result<Self, String> {
        if text.bytes().any(|c| c.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = Self { scheme: scheme.to_ascii_lowercase(), query, ..Self::default() };
        if !rest.starts_with('/') {
            let first = rest.split('/').next().unwrap_or("");
            return match (scheme.is_empty(), first.contains(':')) {
                (true, true) => Err("first path segment in URL cannot contain colon".to_owned()),
                (true, false) => check_escapes(rest).map(|()| parts),
                // What follows is no path.
                (false, _) => Ok(parts),
            };
        }
        let authority = rest.strip_prefix("//").filter(|rest| !scheme.is_empty() || !rest.starts_with('/'));
        let Some(authority) = authority else { return check_escapes(rest).map(|()| parts) };
        let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        check_host(host)?;
        user.map_or(Ok(()), check_user)?;
        check_escapes(path)?;
        (parts.user, parts.host) = (user, host);
        Ok(parts)
    }
}

/// What is before the first colon, if that can be a scheme.
fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
    let Some((scheme, rest)) = end.and_then(|end| Some((&text[..end], text[end..].strip_prefix(':')?))) else {
        return Ok(("", text));
    };
    match scheme.chars().next() {
        None => Err("missing protocol scheme".to_owned()),
        Some(first) if first.is_ascii_alphabetic() => Ok((scheme, rest)),
        Some(_) => Ok(("", text)),
    }
}

/// `%` and two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let shown: String = text[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", quoted(&shown)));
        }
    }
    Ok(())
}

fn check_user(user: &str) -> Result<(), String> {
    if !user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    check_escapes(user)
}

/// A name or an address, in brackets when it has colons, and a port.
fn check_host(host: &str) -> Result<(), String> {
    let port = match host.starts_with('[') {
        true => host.rfind(']').map(|end| end + 1).ok_or_else(|| "missing ']' in host".to_owned())?,
        false => host.rfind(':').unwrap_or(host.len()),
    };
    let port = &host[port..];
    let digits = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
    if !digits.is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_digit())) {
        return Err(format!("invalid port {} after host", quoted(port)));
    }
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    if let Some(bad) = host.chars().find(|c| !allowed(*c)) {
        return Err(format!("invalid character {} in host name", quoted(&bad.to_string())));
    }
    check_escapes(host)
}
