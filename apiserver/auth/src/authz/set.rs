//! The authorizers of a configuration, counted under the names it gives them.

use std::sync::Arc;

use api_machinery::{UserInfo, Value};
use async_trait::async_trait;
use metrics::counter;
use serde_json::json;

use super::node::NodeAuthorizer;
use super::rbac::Rbac;
use super::webhook::Webhook;
use super::{Authorizer, AuthzAttributes, Decision, Incomplete, Masters, Union};
use crate::config::ConfigError;
use crate::config::authorization::AuthorizationConfiguration;

/// What there is one of, whatever is configured.
#[derive(Clone)]
pub struct Parts {
    pub node: Arc<NodeAuthorizer>,
    pub rbac: Arc<Rbac>,
}

/// Counts what an authorizer decides.
struct Counted {
    kind: String,
    name: String,
    inner: Box<dyn Authorizer>,
}

#[async_trait]
impl Authorizer for Counted {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        let decision = self.inner.authorize(attributes).await;
        let word = match &decision {
            Decision::Allow { .. } => "allowed",
            Decision::Deny { .. } | Decision::Failed { denied: true, .. } => "denied",
            Decision::NoOpinion { .. } | Decision::Failed { .. } => return decision,
        };
        counter!("apiserver_authorization_decisions_total", "type" => self.kind.clone(), "name" => self.name.clone(),
            "decision" => word)
        .increment(1);
        decision
    }
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        self.inner.rules_for(user, namespace)
    }
    fn rules_incomplete(&self, user: &UserInfo, namespace: &str) -> Incomplete {
        self.inner.rules_incomplete(user, namespace)
    }
}

/// `AlwaysAllow` and `AlwaysDeny`, for tests of others.
struct Always {
    allows: bool,
}

#[async_trait]
impl Authorizer for Always {
    async fn authorize(&self, _: &AuthzAttributes) -> Decision {
        match self.allows {
            true => Decision::Allow { reason: String::new() },
            false => Decision::NoOpinion { reason: "Everything is forbidden.".to_owned() },
        }
    }
    fn rules_for(&self, _: &UserInfo, _: &str) -> (Vec<Value>, Vec<Value>) {
        if !self.allows {
            return (Vec::new(), Vec::new());
        }
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        (vec![all], vec![json!({"verbs": ["*"], "nonResourceURLs": ["*"]})])
    }
}

/// `system:masters` first, then what is configured, in its order.
pub fn build(config: &AuthorizationConfiguration, parts: &Parts) -> Result<Union, ConfigError> {
    let mut authorizers: Vec<Box<dyn Authorizer>> = vec![Box::new(Masters)];
    for one in &config.authorizers {
        let inner: Box<dyn Authorizer> = match (one.kind.as_str(), &one.webhook) {
            ("Node", _) => Box::new(parts.node.clone()),
            ("RBAC", _) => Box::new(parts.rbac.clone()),
            ("AlwaysAllow", _) => Box::new(Always { allows: true }),
            ("AlwaysDeny", _) => Box::new(Always { allows: false }),
            ("Webhook", Some(webhook)) => Box::new(Webhook::new(&one.name, webhook)?),
            (kind, _) => return Err(ConfigError::Invalid(format!("unknown authorization mode {kind} specified"))),
        };
        authorizers.push(Box::new(Counted { kind: one.kind.clone(), name: one.name.clone(), inner }));
    }
    Ok(Union { authorizers })
}
