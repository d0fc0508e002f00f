//! A front proxy authenticates for us: it shows a certificate of a CA of its own, and says in headers who the
//! request is from. Upstream's `--requestheader-*`.

use std::collections::BTreeMap;

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;

use super::{Authenticator, Credentials};

/// Which headers say what. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeaders {
    /// The first that is there and not empty is the user's name.
    pub username: Vec<String>,
    pub uid: Vec<String>,
    /// Every value of all of them is a group.
    pub group: Vec<String>,
    pub extra_prefixes: Vec<String>,
    /// Common names of certificates that may do this; every one of the CA when empty.
    pub allowed_names: Vec<String>,
}

/// A header as it came: name and value.
pub type Header<'a> = (&'a str, &'a [u8]);

impl RequestHeaders {
    /// Whether a certificate of the front proxies' CA is one of a front proxy.
    pub fn allows(&self, common_name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|own| own == common_name)
    }

    /// Whether a header says who a request is from: nobody behind us may see, or believe, one.
    pub fn is_identity(&self, name: &str) -> bool {
        let lists = [&self.username, &self.uid, &self.group];
        lists.into_iter().flatten().any(|own| own.eq_ignore_ascii_case(name))
            || self.extra_prefixes.iter().any(|prefix| suffix(name, prefix).is_some())
    }

    /// Whom the headers name; `None` without a name. 401 for what is not UTF-8: dropping it would make somebody else
    /// of the user.
    pub fn user(&self, headers: &[Header<'_>]) -> Result<Option<UserInfo>, ApiError> {
        let name = first(headers, &self.username)?;
        if name.is_empty() {
            return Ok(None);
        }
        let mut groups = all(headers, &self.group)?;
        groups.retain(|group| !group.is_empty());
        let extra = self.extra(headers)?;
        Ok(Some(UserInfo { name, uid: first(headers, &self.uid)?, groups, extra }))
    }

    fn extra(&self, headers: &[Header<'_>]) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            for (name, value) in headers {
                if let Some(key) = suffix(name, prefix) {
                    extra.entry(unescaped(&key.to_ascii_lowercase())).or_default().push(text(value)?);
                }
            }
        }
        Ok(extra)
    }
}

fn text(value: &[u8]) -> Result<String, ApiError> {
    String::from_utf8(value.to_vec()).map_err(|_| ApiError::unauthorized())
}

fn suffix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// Every value of these headers, by header and then in their order.
fn all(headers: &[Header<'_>], names: &[String]) -> Result<Vec<String>, ApiError> {
    let values = names.iter().flat_map(|name| headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)));
    values.map(|(_, value)| text(value)).collect()
}

/// The first value of the first of these headers whose first value says something.
fn first(headers: &[Header<'_>], names: &[String]) -> Result<String, ApiError> {
    for name in names {
        let value = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        match value.map(|(_, value)| text(value)).transpose()? {
            Some(value) if !value.is_empty() => return Ok(value),
            _ => {}
        }
    }
    Ok(String::new())
}

/// `%XX` decoded; as it is written where that does not work.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return key.to_owned() };
        out.push(byte);
        rest = &after[2..];
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

/// Believes what the connection has been checked for.
pub struct FrontProxy;

#[async_trait]
impl Authenticator for FrontProxy {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        Ok(credentials.front_proxy.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RequestHeaders {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        RequestHeaders {
            username: list(&["X-Remote-User", "X-Other-User"]),
            uid: list(&["X-Remote-Uid"]),
            group: list(&["X-Remote-Group"]),
            extra_prefixes: list(&["X-Remote-Extra-"]),
            allowed_names: list(&["front"]),
        }
    }

    #[test]
    fn whom_headers_name() {
        let user = config()
            .user(&[
                ("x-other-user", b"eve"),
                ("x-remote-user", "jörg".as_bytes()),
                ("x-remote-group", b"a"),
                ("x-remote-group", b""),
                ("x-remote-group", b"b"),
                ("x-remote-uid", b"u"),
                ("x-remote-extra-acme.com%2fproject", b"p1"),
                ("x-remote-extra-acme.com%2fproject", b"p2"),
                ("x-remote-extra-100%", b"x"),
                ("accept", b"y"),
            ])
            .expect("good headers")
            .expect("a user");
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jörg", "u"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["acme.com/project"], ["p1", "p2"]);
        assert_eq!(user.extra["100%"], ["x"]);
        assert_eq!(config().user(&[("x-remote-group", b"system:masters")]), Ok(None), "no name, no user");
        assert_eq!(config().user(&[("x-remote-user", b"")]), Ok(None));
        assert!(config().user(&[("x-remote-user", b"j\xf6rg")]).is_err());
        assert!(config().user(&[("x-remote-user", b"a"), ("x-remote-group", b"\xf6")]).is_err());
    }

    #[test]
    fn a22_only_named_certificates_are_front_proxies() {
        assert!(config().allows("front") && !config().allows("admin"));
        assert!(RequestHeaders::default().allows("anybody"), "of the CA");
        for (name, identity) in [
            ("x-remote-user", true),
            ("X-REMOTE-GROUP", true),
            ("x-remote-extra-", true),
            ("x-remote-extra-a", true),
            ("x-remote-users", false),
            ("accept", false),
        ] {
            assert_eq!(config().is_identity(name), identity, "{name}");
        }
    }
}
