//! The ways in which acting as somebody else is granted (upstream's KEP-5284).

use api_auth::authz::{Authorizer, AuthzAttributes};
use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource, UserInfo, names};

use super::Wish;
use crate::authorize;
use crate::request_info::RequestInfo;

pub(super) const AUTHENTICATED: &str = "system:authenticated";
pub(super) const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const NODES: &str = "system:nodes";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What an authorizer sees of an asker who acts as its own node: which extra it has, not what is in it.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// In the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account acts as the node its pod is on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Anybody else.
    UserInfo,
    /// `impersonate`: whatever the act.
    Legacy,
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let good = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    good.then_some((namespace, name))
}

fn node(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| names::dns1123_subdomain(name).is_empty())
}

impl Mode {
    pub(super) const ALL: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn is_constrained(self) -> bool {
        self != Self::Legacy
    }

    /// Whether it is a way for this wish at all.
    pub(super) fn applies(self, wish: &Wish, asker: &UserInfo) -> bool {
        let only_name = wish.uid.is_empty() && wish.groups.is_empty() && wish.extra.is_empty();
        let (node, account) = (node(&wish.user), service_account(&wish.user));
        match self {
            Self::AssociatedNode => only_name && node.is_some_and(|node| runs_on(asker, node)),
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    /// Asks for everything that must be granted, the act first.
    pub(super) async fn check(
        self,
        authorizer: &dyn Authorizer,
        wish: &Wish,
        asker: &UserInfo,
        info: &RequestInfo,
    ) -> Result<()> {
        let asker = self.seen(asker);
        if self.is_constrained() {
            let mut act = info.attributes(&asker);
            act.verb = format!("impersonate-on:{}:{}", self.name(), act.verb);
            authorize::check(authorizer, &act).await?;
        }
        for attributes in self.needed(wish, &asker)? {
            authorize::check(authorizer, &attributes).await?;
        }
        Ok(())
    }

    /// The asker as the authorizer sees it.
    fn seen(self, asker: &UserInfo) -> UserInfo {
        let mut seen = asker.clone();
        if self == Self::AssociatedNode {
            let keys = asker.extra.keys().cloned().collect();
            seen.extra = [(NODE_KEYS.to_owned(), keys)].into();
        }
        seen
    }

    /// Everything of a wish that must be granted.
    fn needed(self, wish: &Wish, asker: &UserInfo) -> Result<Vec<AuthzAttributes>> {
        let group = if self.is_constrained() { AUTHENTICATION } else { "" };
        let of = |group: &str, resource: &str, name: &str| self.attributes(asker, group, resource, name);
        let mut all = vec![self.name_of(wish, asker, group)];
        if !wish.uid.is_empty() {
            all.push(of(AUTHENTICATION, "uids", &wish.uid));
        }
        for name in &wish.groups {
            if self.is_constrained() && name == UserInfo::MASTERS {
                return Err(refused(
                    &of(group, "groups", name),
                    "impersonating the system:masters group is not allowed",
                ));
            }
            all.push(of(group, "groups", name));
        }
        for (key, values) in &wish.extra {
            if let Some(why) = bad_extra(key, values).filter(|_| self.is_constrained()) {
                return Err(refused(&of(AUTHENTICATION, "userextras", ""), &why));
            }
            all.extend(
                values.iter().map(|value| AuthzAttributes {
                    subresource: key.clone(),
                    ..of(AUTHENTICATION, "userextras", value)
                }),
            );
        }
        Ok(all)
    }

    fn name_of(self, wish: &Wish, asker: &UserInfo, group: &str) -> AuthzAttributes {
        if let Some((namespace, name)) = service_account(&wish.user) {
            let namespace = namespace.to_owned();
            return AuthzAttributes { namespace, ..self.attributes(asker, group, "serviceaccounts", name) };
        }
        match node(&wish.user).filter(|_| self.is_constrained()) {
            // Whichever node it is on: it is the one it runs on.
            Some(_) if self == Self::AssociatedNode => self.attributes(asker, group, "nodes", "*"),
            Some(name) => self.attributes(asker, group, "nodes", name),
            None => self.attributes(asker, group, "users", &wish.user),
        }
    }

    fn attributes(self, asker: &UserInfo, group: &str, resource: &str, name: &str) -> AuthzAttributes {
        let verb = match self.is_constrained() {
            true => format!("impersonate:{}", self.name()),
            false => "impersonate".to_owned(),
        };
        AuthzAttributes {
            user: asker.clone(),
            verb,
            resource_request: true,
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..AuthzAttributes::default()
        }
    }

    /// What was wished for, with the groups that go with the name.
    pub(super) fn become_user(self, wish: Wish) -> UserInfo {
        let mut groups = wish.groups;
        if groups.is_empty() {
            if let Some((namespace, _)) = service_account(&wish.user) {
                groups.push("system:serviceaccounts".to_owned());
                groups.push(format!("system:serviceaccounts:{namespace}"));
            } else if self.is_constrained() && node(&wish.user).is_some() {
                groups.push(NODES.to_owned());
            }
        }
        let has = |wanted: &str| groups.iter().any(|group| group == wanted);
        let everyone = match wish.user.as_str() {
            ANONYMOUS => Some(UNAUTHENTICATED).filter(|group| !has(group)),
            // Whoever asks to be in the group of strangers is not in the other one.
            _ => Some(AUTHENTICATED).filter(|group| !has(group) && !has(UNAUTHENTICATED)),
        };
        groups.extend(everyone.map(str::to_owned));
        UserInfo { name: wish.user, uid: wish.uid, groups, extra: wish.extra }
    }
}

/// Whether a service account's token says that its pod is on this node.
fn runs_on(asker: &UserInfo, node: &str) -> bool {
    service_account(&asker.name).is_some()
        && asker.extra.get(NODE_NAME).is_some_and(|names| names.iter().map(String::as_str).eq([node]))
}

fn refused(attributes: &AuthzAttributes, why: &str) -> ApiError {
    let why = format!("{}: {why}", attributes.refusal());
    ApiError::forbidden(&GroupResource::new(&attributes.group, &attributes.resource), &attributes.name, &why)
}

/// Keys are `DOMAIN/PATH` in lower case, and no value is empty.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let good = key
        .split_once('/')
        .is_some_and(|(domain, path)| names::dns1123_subdomain(domain).is_empty() && !path.is_empty());
    if !good {
        return Some(format!("impersonating an invalid key in extra is not allowed: {key:?}"));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    match values.iter().any(String::is_empty) || values.is_empty() {
        true => Some("impersonating the empty string value in extra is not allowed".to_owned()),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use api_auth::authz::Decision;
    use async_trait::async_trait;
    use http::HeaderMap;

    use super::super::impersonate;
    use super::*;

    /// Grants what is listed as `VERB RESOURCE NAME`, and notes what it is asked.
    #[derive(Default)]
    struct Grants(Vec<&'static str>, Mutex<Vec<String>>);

    #[async_trait]
    impl Authorizer for Grants {
        async fn authorize(&self, asked: &AuthzAttributes) -> Decision {
            let text = format!("{} {} {}", asked.verb, asked.resource, asked.name);
            let reason = String::new();
            let granted = self.0.contains(&text.trim());
            self.1.lock().expect("no panic").push(text);
            if granted { Decision::Allow { reason } } else { Decision::NoOpinion { reason } }
        }
        fn rules_for(&self, _: &UserInfo, _: &str) -> (Vec<serde_json::Value>, Vec<serde_json::Value>) {
            (Vec::new(), Vec::new())
        }
    }

    async fn act(grants: &[&'static str], headers: &[(&'static str, &str)]) -> std::result::Result<UserInfo, String> {
        let asker = UserInfo {
            name: "system:serviceaccount:ns:agent".to_owned(),
            extra: [(NODE_NAME.to_owned(), vec!["n1".to_owned()])].into(),
            ..UserInfo::default()
        };
        let info =
            RequestInfo { is_resource: true, verb: "list".into(), resource: "pods".into(), ..RequestInfo::default() };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let grants = Grants(grants.to_vec(), Mutex::default());
        let acted = impersonate(&grants, asker, &info, &map).await;
        acted.map_err(|error| error.message)
    }

    #[tokio::test]
    async fn a21_each_mode_needs_its_verbs() {
        let node = [("impersonate-user", "system:node:n1")];
        let other = [("impersonate-user", "system:node:n2")];
        let account = [("impersonate-user", "system:serviceaccount:ns:web")];
        let ann = [("impersonate-user", "ann")];
        let root = [("impersonate-user", "ann"), ("impersonate-group", "system:masters")];
        let scoped = [("impersonate-user", "ann"), ("impersonate-extra-acme.com%2Fscope", "x")];
        let vague = [("impersonate-user", "ann"), ("impersonate-extra-scope", "x")];
        let on_node = ["impersonate-on:associated-node:list pods", "impersonate:associated-node nodes *"];
        let on_any = ["impersonate-on:arbitrary-node:list pods", "impersonate:arbitrary-node nodes n2"];
        let on_user = ["impersonate-on:user-info:list pods", "impersonate:user-info users ann"];
        for (grants, headers, good) in [
            (&on_node[..], &node[..], true),
            (&on_node[..], &other[..], false),
            (&on_node[..1], &node[..], false),
            (&on_node[1..], &node[..], false),
            (&on_any[..], &other[..], true),
            (&on_any[..], &node[..], false),
            (
                &["impersonate-on:serviceaccount:list pods", "impersonate:serviceaccount serviceaccounts web"],
                &account,
                true,
            ),
            (&["impersonate serviceaccounts web"], &account, true),
            (&on_user[..], &ann[..], true),
            (&on_user[..], &account[..], false),
            (&["impersonate-on:user-info:get pods", "impersonate:user-info users ann"], &ann, false),
            (&["impersonate users ann"], &ann, true),
            // Nobody becomes a master in a constrained mode, whatever is granted.
            (&[on_user[0], on_user[1], "impersonate:user-info groups system:masters"], &root, false),
            (&["impersonate users ann", "impersonate groups system:masters"], &root, true),
            (&[on_user[0], on_user[1], "impersonate:user-info userextras x"], &scoped, true),
            (&[on_user[0], on_user[1], "impersonate:user-info userextras x"], &vague, false),
            (&["impersonate users ann", "impersonate userextras x"], &vague, true),
            (&["impersonate users ann"], &scoped, false),
        ] {
            let acted = act(grants, headers).await;
            assert_eq!(acted.is_ok(), good, "{grants:?} {headers:?} {acted:?}");
        }
        let node = act(&on_node, &node).await.expect("granted");
        assert_eq!(node.groups, [NODES, AUTHENTICATED]);
        let refusal = act(&[], &ann).await.expect_err("not granted");
        assert!(refusal.contains(r#"cannot impersonate-on:user-info:list resource "pods""#), "{refusal}");
    }
}
