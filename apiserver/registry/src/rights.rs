//! What the asker of a request may do besides the request itself, where one act implies another.

use std::fmt;
use std::sync::Arc;

use api_admission::{Act, Rights};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_machinery::{ApiError, GroupResource, UserInfo};
use async_trait::async_trait;

use crate::RequestInfo;
use crate::scope::Scope;

/// Who decides about further acts.
#[derive(Clone)]
pub struct Authority(pub Arc<dyn Authorizer>);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// May somebody do something with a resource, on no object in particular?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
}

impl Authority {
    /// As a SubjectAccessReview of any version answers it.
    pub async fn allows(&self, user: UserInfo, question: &Question<'_>) -> bool {
        let attributes = AuthzAttributes {
            user,
            verb: question.verb.to_owned(),
            resource_request: true,
            group: question.group.to_owned(),
            version: "*".to_owned(),
            resource: question.resource.to_owned(),
            subresource: question.subresource.to_owned(),
            ..AuthzAttributes::default()
        };
        self.0.authorize(&attributes).await.allowed()
    }
}

impl RequestInfo {
    /// Who decides whether a requester holds what it hands on to others by what it writes. `None`: whatever it is, it
    /// holds it, as a component of this process and a member of `system:masters` do.
    pub(crate) fn judge(&self) -> Option<&Arc<dyn Authorizer>> {
        self.authority.as_ref().map(|Authority(authorizer)| authorizer).filter(|_| !self.user.is_in(UserInfo::MASTERS))
    }

    /// A component of this process may do what it does.
    pub(crate) async fn decide(&self, attributes: &AuthzAttributes) -> Decision {
        match &self.authority {
            Some(Authority(authorizer)) => authorizer.authorize(attributes).await,
            None => Decision::Allow { reason: String::new() },
        }
    }
}

/// What admission plugins ask.
#[async_trait]
impl Rights for RequestInfo {
    async fn may(&self, act: &Act<'_>) -> bool {
        let asked = AuthzAttributes {
            user: self.user.clone(),
            verb: act.verb.to_owned(),
            resource_request: true,
            group: act.group.to_owned(),
            version: act.version.to_owned(),
            resource: act.resource.to_owned(),
            subresource: act.subresource.to_owned(),
            namespace: act.namespace.to_owned(),
            name: act.name.to_owned(),
            ..AuthzAttributes::default()
        };
        self.decide(&asked).await.allowed()
    }
}

impl Scope<'_> {
    /// Another verb on what the request addresses.
    pub(crate) fn asks(&self, verb: &str) -> AuthzAttributes {
        AuthzAttributes {
            user: self.info.user.clone(),
            verb: verb.to_owned(),
            resource_request: true,
            group: self.resource.gv.group.to_string(),
            version: self.resource.gv.version.to_string(),
            resource: self.resource.plural.clone(),
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
            ..AuthzAttributes::default()
        }
    }

    /// 403 with upstream's text unless the asker may do that too.
    pub(crate) async fn check_may(&self, verb: &str) -> Result<(), ApiError> {
        let attributes = self.asks(verb);
        match self.info.decide(&attributes).await {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(refusal(&attributes, &reason)),
            Decision::Failed { error, .. } => {
                tracing::error!(error, "an authorizer failed");
                Err(ApiError::internal("an authorizer failed"))
            }
        }
    }
}

fn refusal(attributes: &AuthzAttributes, reason: &str) -> ApiError {
    let mut why = attributes.refusal();
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    ApiError::forbidden(&GroupResource::new(&attributes.group, &attributes.resource), &attributes.name, &why)
}
