//! Authorization: may this user do this?

pub mod node;
pub mod rbac;
pub mod set;
pub mod webhook;

use api_machinery::{UserInfo, fields, labels};
use async_trait::async_trait;
use serde_json::Value;

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
    /// What a list, watch or deletecollection is narrowed to. What of a selector is not understood is left out: the
    /// rest asks for more, not for less.
    pub field_selector: Vec<fields::Term>,
    pub label_selector: Vec<labels::Requirement>,
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
    /// It could not be found out, and nobody else has allowed it.
    Failed {
        error: String,
        /// Refused whatever others say.
        denied: bool,
    },
}

impl Decision {
    pub fn no_opinion() -> Self {
        Decision::NoOpinion { reason: String::new() }
    }
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow { reason } | Decision::Deny { reason } | Decision::NoOpinion { reason } => reason,
            Decision::Failed { .. } => "",
        }
    }
}

#[async_trait]
pub trait Authorizer: Send + Sync {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision;
    /// The rules of a user in a namespace, for SelfSubjectRulesReview: (resource rules, non-resource rules) as JSON.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>);
    /// Why [`Self::rules_for`] is not all that decides about this user.
    fn rules_incomplete(&self, _user: &UserInfo, _namespace: &str) -> Incomplete {
        Incomplete::default()
    }
}

/// What is missing of a user's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// There are rights that no rule can say.
    pub incomplete: bool,
    /// What could not be found out.
    pub errors: Vec<String>,
}

/// Errors in one text, as upstream has it: each once, in brackets where there are several.
pub fn aggregated(errors: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    match once.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Members of `system:masters` may do everything, before any other authorizer is asked. That is in no rule.
pub struct Masters;

#[async_trait]
impl Authorizer for Masters {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        match attributes.user.is_in(UserInfo::MASTERS) {
            true => Decision::Allow { reason: String::new() },
            false => Decision::no_opinion(),
        }
    }
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }
}

/// Authorizers in turn: the first that allows or denies decides; nobody's opinion is a refusal.
pub struct Union {
    pub authorizers: Vec<Box<dyn Authorizer>>,
}

/// What those who did not decide have said.
#[derive(Default)]
struct Undecided {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Undecided {
    /// `Some`: it is decided.
    fn hear(&mut self, decision: Decision) -> Option<Decision> {
        match decision {
            Decision::NoOpinion { reason } if reason.is_empty() => {}
            Decision::NoOpinion { reason } => self.reasons.push(reason),
            Decision::Failed { error, denied: false } => self.errors.push(error),
            decided => return Some(decided),
        }
        None
    }

    fn sum(self) -> Decision {
        if self.errors.is_empty() {
            return Decision::NoOpinion { reason: self.reasons.join("\n") };
        }
        Decision::Failed { error: aggregated(&self.errors), denied: false }
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        let mut undecided = Undecided::default();
        for authorizer in &self.authorizers {
            if let Some(decided) = undecided.hear(authorizer.authorize(attributes).await) {
                return decided;
            }
        }
        undecided.sum()
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
    fn rules_incomplete(&self, user: &UserInfo, namespace: &str) -> Incomplete {
        let mut all = Incomplete::default();
        for authorizer in &self.authorizers {
            let one = authorizer.rules_incomplete(user, namespace);
            all.incomplete |= one.incomplete;
            all.errors.extend(one.errors);
        }
        all
    }
}

/// A union whose authorizers may be exchanged while it is asked.
pub struct Swappable(pub arc_swap::ArcSwap<Union>);

impl Swappable {
    pub fn new(union: Union) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(union))
    }
}

#[async_trait]
impl Authorizer for std::sync::Arc<Swappable> {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        let current = self.0.load_full();
        current.authorize(attributes).await
    }
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        self.0.load().rules_for(user, namespace)
    }
    fn rules_incomplete(&self, user: &UserInfo, namespace: &str) -> Incomplete {
        self.0.load().rules_incomplete(user, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Decision);

    #[async_trait]
    impl Authorizer for Says {
        async fn authorize(&self, _: &AuthzAttributes) -> Decision {
            self.0.clone()
        }
        fn rules_for(&self, _: &UserInfo, _: &str) -> (Vec<Value>, Vec<Value>) {
            (Vec::new(), Vec::new())
        }
    }

    #[tokio::test]
    async fn the_first_that_decides_decides() {
        let no = |reason: &str| Decision::NoOpinion { reason: reason.into() };
        let yes = || Decision::Allow { reason: "yes".into() };
        let deny = || Decision::Deny { reason: "deny".into() };
        let broken = |denied| Decision::Failed { error: "broken".into(), denied };
        for (said, sum) in [
            (vec![no(""), yes(), deny()], yes()),
            (vec![deny(), yes()], deny()),
            (vec![no("a"), no("b")], no("a\nb")),
            (vec![broken(false), yes()], yes()),
            (vec![broken(true), yes()], broken(true)),
            (vec![no("a"), broken(false)], broken(false)),
            (vec![broken(false), broken(false)], broken(false)),
            (vec![], no("")),
        ] {
            let authorizers = said.iter().cloned().map(|one| Box::new(Says(one)) as Box<dyn Authorizer>).collect();
            assert_eq!(Union { authorizers }.authorize(&AuthzAttributes::default()).await, sum, "{said:?}");
        }
    }

    #[test]
    fn errors_are_one_text() {
        let text = |errors: &[&str]| aggregated(&errors.iter().map(|error| (*error).to_owned()).collect::<Vec<_>>());
        assert_eq!([text(&[]), text(&["a"]), text(&["a", "a"])], ["", "a", "a"]);
        assert_eq!(text(&["b", "a", "b"]), "[b, a]");
    }
}
