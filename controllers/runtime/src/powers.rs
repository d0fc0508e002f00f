//! What some controllers need beyond the API: the answers of authorization, and the key of the CA.

use std::fmt;
use std::sync::Arc;

use api_machinery::UserInfo;
use api_machinery::error::{ApiError, Result};
use api_registry::{Authority, Question};
use controller_logic::plan::{Access, Signing};
use jiff::Timestamp;

/// Who holds the key of the cluster's CA.
pub trait Signer: Send + Sync {
    /// PEM of the certificate. The error is a sentence; the request is tried again.
    fn sign(&self, signing: &Signing, now: Timestamp) -> std::result::Result<String, String>;
}

/// Without them nothing is approved, and nothing signed.
#[derive(Clone, Default)]
pub struct Powers {
    pub authority: Option<Authority>,
    pub signer: Option<Arc<dyn Signer>>,
}

impl fmt::Debug for Powers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Powers(authority: {}, signer: {})", self.authority.is_some(), self.signer.is_some())
    }
}

impl Powers {
    pub(crate) async fn allows(&self, access: &Access) -> bool {
        let user = UserInfo {
            name: access.user.clone(),
            uid: access.uid.clone(),
            groups: access.groups.clone(),
            extra: access.extra.clone(),
        };
        let question = Question {
            verb: access.verb,
            group: access.group,
            resource: access.resource,
            subresource: access.subresource,
        };
        match &self.authority {
            Some(own) => own.allows(user, &question).await,
            None => false,
        }
    }

    pub(crate) fn sign(&self, signing: &Signing, now: Timestamp) -> Result<String> {
        let signer = self.signer.as_ref().ok_or_else(|| ApiError::internal("this replica has no CA to sign with"))?;
        signer.sign(signing, now).map_err(ApiError::internal)
    }
}
