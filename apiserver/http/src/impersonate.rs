//! `Impersonate-*` headers: acting as somebody else, where that is granted: for everything (`impersonate`), or in one
//! of the constrained modes for one act at a time (`impersonate:MODE` and `impersonate-on:MODE:VERB`).

mod modes;

use std::collections::BTreeMap;

use api_auth::authz::Authorizer;
use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo};
use http::{HeaderMap, HeaderValue};

use crate::path::percent_decode;
use crate::request_info::RequestInfo;
use modes::Mode;

const PREFIX: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";

/// Whom a request wants to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Every value of a header, from its bytes: names are not ASCII only. 400 for what is not UTF-8; dropping it would
/// make a request act as its asker.
fn texts(headers: &HeaderMap, name: &str) -> Result<Vec<String>> {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec());
    let all: std::result::Result<_, _> = headers.get_all(name).iter().map(text).collect();
    all.map_err(|_| ApiError::bad_request(format!("malformed {name} header: not UTF-8")))
}

fn first(headers: &HeaderMap, name: &str) -> Result<String> {
    Ok(texts(headers, name)?.into_iter().next().unwrap_or_default())
}

/// `None` without such headers; 400 for any of them without a user, also when the user's own is empty.
fn read(headers: &HeaderMap) -> Result<Option<Wish>> {
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Ok(None);
    }
    let mut wish = Wish {
        user: first(headers, "impersonate-user")?,
        uid: first(headers, "impersonate-uid")?,
        groups: texts(headers, "impersonate-group")?,
        extra: BTreeMap::new(),
    };
    for name in headers.keys().filter(|name| name.as_str().starts_with(EXTRA)) {
        let key = &name.as_str()[EXTRA.len()..];
        // A malformed escape is taken as it is written, as upstream.
        let key = percent_decode(key).unwrap_or_else(|| key.to_owned());
        wish.extra.entry(key).or_default().extend(texts(headers, name.as_str())?);
    }
    if wish.user.is_empty() {
        return Err(ApiError::bad_request(
            "requested to impersonate groups, uid or extra without impersonating a user",
        ));
    }
    Ok(Some(wish))
}

/// The user a request acts as. 403 unless a mode grants it: each of name, groups, uid and extra, and in the
/// constrained modes the act itself. The refusal is the first mode's, as upstream has it.
pub(crate) async fn impersonate(
    authorizer: &dyn Authorizer,
    asker: UserInfo,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<UserInfo> {
    let Some(wish) = read(headers)? else { return Ok(asker) };
    let mut refusal = None;
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| mode.applies(&wish, &asker)).collect();
    for mode in modes {
        match mode.check(authorizer, &wish, &asker, info).await {
            Ok(()) => {
                tracing::debug!(asker = asker.name, user = wish.user, ?mode, "acting as somebody else");
                return Ok(mode.become_user(wish));
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| ApiError::internal("all impersonation modes failed")))
}

#[cfg(test)]
mod tests {
    use api_auth::authz::{AuthzAttributes, Decision};
    use async_trait::async_trait;

    use super::modes::{AUTHENTICATED, UNAUTHENTICATED};
    use super::*;

    /// Grants what is named `ok...`.
    struct Named;
    #[async_trait]
    impl Authorizer for Named {
        async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
            let granted = attributes.verb == "impersonate" && attributes.name.starts_with("ok");
            let reason = String::new();
            if granted { Decision::Allow { reason } } else { Decision::NoOpinion { reason } }
        }
        fn rules_for(&self, _: &UserInfo, _: &str) -> (Vec<serde_json::Value>, Vec<serde_json::Value>) {
            (Vec::new(), Vec::new())
        }
    }

    fn act(headers: &[(&'static str, &str)]) -> std::result::Result<UserInfo, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        act_as(&map)
    }

    fn act_as(headers: &HeaderMap) -> std::result::Result<UserInfo, u16> {
        let asker = UserInfo { name: "asker".to_owned(), ..UserInfo::default() };
        let info = RequestInfo::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let acting = runtime.block_on(impersonate(&Named, asker, &info, headers));
        acting.map_err(|error| error.code)
    }

    #[test]
    fn each_part_is_granted_apart() {
        assert_eq!(act(&[]).expect("stays").name, "asker");
        let user = act(&[
            ("impersonate-user", "ok"),
            ("impersonate-group", "ok-1"),
            ("impersonate-group", "ok-2"),
            ("impersonate-extra-a%2Fb", "ok-x"),
            ("impersonate-uid", "ok-u"),
        ])
        .expect("granted");
        assert_eq!(user.groups, ["ok-1", "ok-2", "system:authenticated"]);
        assert_eq!((user.extra["a/b"].as_slice(), user.uid.as_str()), (["ok-x".to_owned()].as_slice(), "ok-u"));
        let account = act(&[("impersonate-user", "system:serviceaccount:ns:ok")]).expect("granted");
        assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        for refused in [
            vec![("impersonate-user", "no")],
            vec![("impersonate-user", "ok"), ("impersonate-group", "system:masters")],
            vec![("impersonate-user", "ok"), ("impersonate-extra-scope", "no")],
            vec![("impersonate-user", "ok"), ("impersonate-uid", "no")],
        ] {
            assert_eq!(act(&refused), Err(403), "{refused:?}");
        }
        assert_eq!(act(&[("impersonate-group", "ok")]), Err(400));
    }

    #[test]
    fn no_name_is_lost_on_the_way() {
        let user = act(&[("impersonate-user", "okjörg"), ("impersonate-group", "ok-größe")]).expect("granted");
        assert_eq!((user.name.as_str(), user.groups[0].as_str()), ("okjörg", "ok-größe"));
        assert_eq!(act(&[("impersonate-user", "jörg")]), Err(403));
        let latin1 = HeaderValue::from_bytes(b"okj\xf6rg").expect("a header value");
        for name in ["impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-scope"] {
            let mut headers = HeaderMap::new();
            if name != "impersonate-user" {
                headers.insert("impersonate-user", HeaderValue::from_static("ok"));
            }
            headers.append(name, latin1.clone());
            assert_eq!(act_as(&headers), Err(400), "{name}");
        }
        for empty in ["impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-scope"] {
            assert_eq!(act(&[(empty, "")]), Err(400), "{empty} alone does not stay the asker");
        }
    }

    #[test]
    fn strangers_stay_strangers() {
        let groups = |group: &str| {
            let user = act(&[("impersonate-user", "ok"), ("impersonate-group", group)]);
            user.map(|user| user.groups)
        };
        // `system:...` is not granted by the test's rules: seen at the part that makes the user.
        assert_eq!(groups(UNAUTHENTICATED), Err(403));
        let wish = |user: &str, groups: &[&str]| Wish {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Wish::default()
        };
        assert_eq!(Mode::Legacy.become_user(wish("ok", &[UNAUTHENTICATED])).groups, [UNAUTHENTICATED]);
        assert_eq!(Mode::Legacy.become_user(wish("system:anonymous", &[])).groups, [UNAUTHENTICATED]);
        assert_eq!(Mode::Legacy.become_user(wish("ok", &[])).groups, [AUTHENTICATED]);
    }
}
