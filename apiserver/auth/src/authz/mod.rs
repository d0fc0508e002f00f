//! Authorization: may this user do this?

pub mod node;
pub mod rbac;

use api_machinery::UserInfo;
use serde_json::{Value, json};

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

impl AuthzAttributes {
    /// The text upstream refuses with: `User "x" cannot list resource "pods" in API group "" in the namespace "a"`.
    pub fn refusal(&self) -> String {
        let user = &self.user.name;
        if !self.resource_request {
            return format!("User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let resource = match self.subresource.is_empty() {
            true => self.resource.clone(),
            false => format!("{}/{}", self.resource, self.subresource),
        };
        let place = match self.namespace.is_empty() {
            true => "at the cluster scope".to_owned(),
            false => format!("in the namespace {:?}", self.namespace),
        };
        format!("User {user:?} cannot {} resource {resource:?} in API group {:?} {place}", self.verb, self.group)
    }
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
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow { reason } | Decision::Deny { reason } | Decision::NoOpinion { reason } => reason,
        }
    }
}

pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &AuthzAttributes) -> Decision;
    /// The rules of a user in a namespace, for SelfSubjectRulesReview: (resource rules, non-resource rules) as JSON.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>);
    /// Why [`Self::rules_for`] is not all that decides about this user.
    fn rules_incomplete(&self, _user: &UserInfo) -> Option<String> {
        None
    }
}

/// Members of `system:masters` may do everything, before any other authorizer is asked.
pub struct Masters;

impl Authorizer for Masters {
    fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        match attributes.user.is_in(UserInfo::MASTERS) {
            true => Decision::Allow { reason: String::new() },
            false => Decision::NoOpinion { reason: String::new() },
        }
    }
    fn rules_for(&self, user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        if !user.is_in(UserInfo::MASTERS) {
            return (Vec::new(), Vec::new());
        }
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        (vec![all], vec![json!({"verbs": ["*"], "nonResourceURLs": ["*"]})])
    }
}

/// Authorizers in turn: the first that allows or denies decides; nobody's opinion is a refusal.
pub struct Union {
    pub authorizers: Vec<Box<dyn Authorizer>>,
}

impl Authorizer for Union {
    fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion { reason } if reason.is_empty() => {}
                Decision::NoOpinion { reason } => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion { reason: reasons.join("\n") }
    }
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let mut all = (Vec::new(), Vec::new());
        for authorizer in &self.authorizers {
            let (resources, paths) = authorizer.rules_for(user, namespace);
            all.0.extend(resources);
            all.1.extend(paths);
        }
        all
    }
    fn rules_incomplete(&self, user: &UserInfo) -> Option<String> {
        self.authorizers.iter().find_map(|authorizer| authorizer.rules_incomplete(user))
    }
}
