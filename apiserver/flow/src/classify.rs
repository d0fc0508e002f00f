//! Which FlowSchema a request falls under, and which flow of it. Pure; matches upstream's `rule.go`.

use std::sync::Arc;

use api_machinery::UserInfo;

use crate::config::{Distinguisher, FlowSchema, ResourceRule, Rule, Subject, UrlRule};

/// What of a request counts.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    pub user: &'a UserInfo,
    pub is_resource: bool,
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub path: &'a str,
}

/// What a request was found to be.
#[derive(Clone, Debug)]
pub struct Class {
    pub schema: Arc<FlowSchema>,
    pub level: Arc<str>,
    pub level_uid: String,
    pub distinguisher: String,
    pub hash: u64,
    pub exempt: bool,
    /// A request of this level is at most so wide; `None`: as wide as any.
    pub max_seats: Option<u64>,
}

/// In the order in which they are looked at.
pub(crate) fn sort(schemas: &mut [Arc<FlowSchema>]) {
    schemas.sort_by(|one, other| (one.precedence, &one.name).cmp(&(other.precedence, &other.name)));
}

pub(crate) fn matches(schema: &FlowSchema, digest: &Digest<'_>) -> bool {
    schema.rules.iter().any(|rule| rule_matches(rule, digest))
}

pub(crate) fn distinguisher(schema: &FlowSchema, digest: &Digest<'_>) -> String {
    match schema.distinguisher {
        Distinguisher::None => String::new(),
        Distinguisher::ByUser => digest.user.name.clone(),
        Distinguisher::ByNamespace => digest.namespace.to_owned(),
    }
}

fn rule_matches(rule: &Rule, digest: &Digest<'_>) -> bool {
    rule.subjects.iter().any(|subject| subject_matches(subject, digest.user))
        && match digest.is_resource {
            true => rule.resources.iter().any(|rule| resource_matches(rule, digest)),
            false => rule.urls.iter().any(|rule| url_matches(rule, digest)),
        }
}

fn subject_matches(subject: &Subject, user: &UserInfo) -> bool {
    match subject {
        Subject::User(name) => name == "*" || *name == user.name,
        Subject::Group(name) => name == "*" || user.is_in(name),
        Subject::ServiceAccount { namespace, name } => {
            let own = user.name.strip_prefix("system:serviceaccount:").and_then(|own| own.split_once(':'));
            own.is_some_and(|(own_namespace, own)| own_namespace == namespace && (name == "*" || own == name))
        }
    }
}

/// A list of nothing but the wildcard stands for everything; validation lets it stand nowhere else.
fn has(list: &[String], wildcard: &str, wanted: &str) -> bool {
    matches!(list, [only] if only == wildcard) || list.iter().any(|one| one == wanted)
}

fn resource_matches(rule: &ResourceRule, digest: &Digest<'_>) -> bool {
    let named = |resource: &str| match digest.subresource {
        "" => resource == digest.resource,
        subresource => {
            resource.strip_prefix(digest.resource).and_then(|rest| rest.strip_prefix('/')) == Some(subresource)
        }
    };
    let resource =
        matches!(rule.resources.as_slice(), [only] if only == "*") || rule.resources.iter().any(|one| named(one));
    resource
        && has(&rule.verbs, "*", digest.verb)
        && has(&rule.groups, "*", digest.group)
        && if digest.namespace.is_empty() { rule.cluster_scope } else { has(&rule.namespaces, "*", digest.namespace) }
}

/// `/healthz` is also everything below it, as upstream.
fn url_matches(rule: &UrlRule, digest: &Digest<'_>) -> bool {
    let below = |url: &String| {
        let stem = url.trim_end_matches('*').trim_end_matches('/');
        url == "*" || url == digest.path || digest.path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'))
    };
    has(&rule.verbs, "*", digest.verb) && rule.urls.iter().any(below)
}
