//! ServiceAccount tokens: signature, times and audience, and that the account and what the token is
//! bound to still exist with the same uid.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, UserInfo, object};
use async_trait::async_trait;
use jiff::Timestamp;
use pki::tokens::{Subject, TokenIssuer, Verified};

use super::{Authenticator, Credentials};
use crate::Objects;

pub struct ServiceAccounts {
    pub issuer: Arc<TokenIssuer>,
    pub objects: Arc<dyn Objects>,
    pub now: fn() -> Timestamp,
}

/// Whether a bearer token has the three parts of a JWT.
pub fn looks_like_jwt(token: &str) -> bool {
    token.split('.').count() == 3
}

#[async_trait]
impl Authenticator for ServiceAccounts {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some(token) = credentials.bearer_token.as_deref().filter(|token| looks_like_jwt(token)) else {
            return Ok(None);
        };
        self.check(token, self.issuer.api_audiences()).await.map(|(user, _)| Some(user))
    }
}

impl ServiceAccounts {
    /// The user of a token that is for one of `audiences`, and those that fit. 401 otherwise.
    pub async fn check(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), ApiError> {
        let verified = self.issuer.verify(token, audiences, (self.now)()).map_err(|error| {
            tracing::debug!(%error, "service-account token refused");
            ApiError::unauthorized()
        })?;
        if !self.exists(&verified.subject) {
            // This replica may be a moment behind the one that created the objects.
            self.objects.refresh().await?;
            if !self.exists(&verified.subject) {
                return Err(ApiError::unauthorized());
            }
        }
        Ok((user_of(&verified), verified.audiences))
    }

    fn exists(&self, subject: &Subject) -> bool {
        let namespace = subject.namespace.as_str();
        let is = |resource: &str, namespace: &str, name: &str, uid: &str| {
            let found = self.objects.get(&GroupResource::new("", resource), namespace, name);
            found.is_some_and(|found| object::uid(&found) == uid)
        };
        let bound = |resource: &str, namespace: &str, to: &Option<(String, String)>| {
            to.as_ref().is_none_or(|(name, uid)| is(resource, namespace, name, uid))
        };
        is("serviceaccounts", namespace, &subject.service_account, &subject.service_account_uid)
            && bound("pods", namespace, &subject.pod)
            && bound("secrets", namespace, &subject.secret)
            && (subject.pod.is_some() || bound("nodes", "", &subject.node))
    }
}

/// The user upstream makes of a token.
pub fn user_of(verified: &Verified) -> UserInfo {
    let subject = &verified.subject;
    let mut user = UserInfo {
        name: format!("system:serviceaccount:{}:{}", subject.namespace, subject.service_account),
        uid: subject.service_account_uid.clone(),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{}", subject.namespace)],
        ..UserInfo::default()
    };
    let mut add = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    add("credential-id", &format!("JTI={}", verified.id));
    if let Some((name, uid)) = &subject.pod {
        add("pod-name", name);
        add("pod-uid", uid);
    }
    if let Some((name, uid)) = &subject.node {
        add("node-name", name);
        add("node-uid", uid);
    }
    user
}
