//! What the asker of a request may do besides the request itself, where one act implies another.

use std::fmt;
use std::sync::Arc;

use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_machinery::{ApiError, GroupResource};

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

impl RequestInfo {
    /// A component of this process may do what it does.
    pub(crate) fn decide(&self, attributes: &AuthzAttributes) -> Decision {
        match &self.authority {
            Some(Authority(authorizer)) => authorizer.authorize(attributes),
            None => Decision::Allow { reason: String::new() },
        }
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
    pub(crate) fn check_may(&self, verb: &str) -> Result<(), ApiError> {
        let attributes = self.asks(verb);
        match self.info.decide(&attributes) {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(refusal(&attributes, &reason)),
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
