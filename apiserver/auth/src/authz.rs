//! Authorization: may this user do this?

use api_machinery::UserInfo;

/// A request as authorization sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthzAttributes {
    pub user: UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, ...;
    /// for non-resource requests the lower-case HTTP method.
    pub verb: String,
    pub resource_request: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Of non-resource requests.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow {
        reason: String,
    },
    /// Refused whatever others say.
    Deny {
        reason: String,
    },
    NoOpinion {
        reason: String,
    },
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }
}

pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &AuthzAttributes) -> Decision;
    /// The rules of a user in a namespace, for SelfSubjectRulesReview: (resource rules, non-resource rules) as JSON.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<serde_json::Value>, Vec<serde_json::Value>);
}
