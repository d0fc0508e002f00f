//! `Impersonate-*` headers: acting as somebody else, where `impersonate` is granted.

use std::collections::BTreeMap;

use api_auth::authz::{Authorizer, AuthzAttributes};
use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo};
use http::HeaderMap;

use crate::authorize;
use crate::path::percent_decode;

const EXTRA: &str = "impersonate-extra-";

/// Whom a request wants to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

fn texts<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `None` without such headers; 400 for groups, uid or extra without a user.
fn read(headers: &HeaderMap) -> Result<Option<Wish>> {
    let mut wish = Wish {
        user: texts(headers, "impersonate-user").next().unwrap_or_default(),
        uid: texts(headers, "impersonate-uid").next().unwrap_or_default(),
        groups: texts(headers, "impersonate-group").collect(),
        extra: BTreeMap::new(),
    };
    for name in headers.keys().filter(|name| name.as_str().starts_with(EXTRA)) {
        let key = &name.as_str()[EXTRA.len()..];
        let key = percent_decode(key).ok_or_else(|| ApiError::bad_request("malformed Impersonate-Extra header"))?;
        wish.extra.insert(key.to_ascii_lowercase(), texts(headers, name.as_str()).collect());
    }
    if wish == Wish::default() {
        return Ok(None);
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
    let everyone = if wish.user == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == everyone) {
        groups.push(everyone.to_owned());
    }
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
        let asker = UserInfo { name: "asker".to_owned(), ..UserInfo::default() };
        impersonate(&Named, asker, &map).map_err(|error| error.code)
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
}
