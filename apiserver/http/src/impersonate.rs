//! `Impersonate-*` headers: acting as somebody else, where `impersonate` is granted.

use std::collections::BTreeMap;

use api_auth::authz::{Authorizer, AuthzAttributes};
use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo};
use http::{HeaderMap, HeaderValue};

use crate::authorize;
use crate::path::percent_decode;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
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

fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Everything that must be granted for a wish.
fn needed(wish: &Wish, asker: &UserInfo) -> Vec<AuthzAttributes> {
    let attributes = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| AuthzAttributes {
        user: asker.clone(),
        verb: "impersonate".to_owned(),
        resource_request: true,
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: String::new(),
    };
    let mut all = vec![match service_account(&wish.user) {
        Some((namespace, name)) => attributes("", "serviceaccounts", "", namespace, name),
        None => attributes("", "users", "", "", &wish.user),
    }];
    all.extend(wish.groups.iter().map(|group| attributes("", "groups", "", "", group)));
    for (key, values) in &wish.extra {
        all.extend(values.iter().map(|value| attributes("authentication.k8s.io", "userextras", key, "", value)));
    }
    if !wish.uid.is_empty() {
        all.push(attributes("authentication.k8s.io", "uids", "", "", &wish.uid));
    }
    all
}

fn become_user(wish: Wish) -> UserInfo {
    let mut groups = wish.groups;
    if groups.is_empty()
        && let Some((namespace, _)) = service_account(&wish.user)
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    let has = |wanted: &str| groups.iter().any(|group| group == wanted);
    let everyone = match wish.user.as_str() {
        "system:anonymous" => Some(UNAUTHENTICATED).filter(|group| !has(group)),
        // Whoever asks to be in the group of strangers is not in the other one.
        _ => Some(AUTHENTICATED).filter(|group| !has(group) && !has(UNAUTHENTICATED)),
    };
    groups.extend(everyone.map(str::to_owned));
    UserInfo { name: wish.user, uid: wish.uid, groups, extra: wish.extra }
}

/// The user a request acts as. 403 unless each of name, groups, uid and extra may be impersonated.
pub(crate) fn impersonate(authorizer: &dyn Authorizer, asker: UserInfo, headers: &HeaderMap) -> Result<UserInfo> {
    let Some(wish) = read(headers)? else { return Ok(asker) };
    for attributes in needed(&wish, &asker) {
        authorize::check(authorizer, &attributes)?;
    }
    Ok(become_user(wish))
}

#[cfg(test)]
mod tests {
    use api_auth::authz::Decision;

    use super::*;

    /// Grants what is named `ok...`.
    struct Named;
    impl Authorizer for Named {
        fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
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
        impersonate(&Named, asker, headers).map_err(|error| error.code)
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
        assert_eq!(become_user(wish("ok", &[UNAUTHENTICATED])).groups, [UNAUTHENTICATED]);
        assert_eq!(become_user(wish("system:anonymous", &[])).groups, [UNAUTHENTICATED]);
        assert_eq!(become_user(wish("ok", &[])).groups, [AUTHENTICATED]);
    }
}
