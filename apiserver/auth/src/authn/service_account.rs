//! ServiceAccount tokens: signature, times and audience, and that the account and what the token is
//! bound to still exist with the same uid.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, UserInfo, Value, object};
use async_trait::async_trait;
use jiff::Timestamp;
use pki::tokens::{LEEWAY_SECONDS, Subject, TokenIssuer, Verified};

use super::{Audiences, Authenticator, Credentials};
use crate::Objects;

pub struct ServiceAccounts {
    pub issuer: Arc<TokenIssuer>,
    pub objects: Arc<dyn Objects>,
    pub now: fn() -> Timestamp,
}

#[async_trait]
impl Authenticator for ServiceAccounts {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let ours = |token: &&str| self.issuer.claims_to_be_ours(token);
        let Some(token) = credentials.bearer_token.as_deref().filter(ours) else { return Ok(None) };
        self.check(token, self.issuer.api_audiences()).await.map(|(user, _)| Some(user))
    }

    async fn review(&self, token: &str, audiences: Audiences<'_>) -> Result<Option<(UserInfo, Vec<String>)>, ApiError> {
        if !self.issuer.claims_to_be_ours(token) {
            return Ok(None);
        }
        self.check(token, audiences.wanted).await.map(Some)
    }
}

impl ServiceAccounts {
    /// The user of a token that is for one of `audiences`, and those that fit. 401 otherwise.
    pub async fn check(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), ApiError> {
        let now = (self.now)();
        let verified = self.issuer.verify(token, audiences, now).map_err(|error| {
            tracing::debug!(%error, "service-account token refused");
            ApiError::unauthorized()
        })?;
        if !self.lives(&verified.subject, now) {
            // This replica may be a moment behind the one that created the objects.
            self.objects.refresh().await?;
            if !self.lives(&verified.subject, now) {
                return Err(ApiError::unauthorized());
            }
        }
        Ok((user_of(&verified), verified.audiences))
    }

    /// Whether the account and what the token is bound to are there, and are those of when it was issued.
    fn lives(&self, subject: &Subject, now: Timestamp) -> bool {
        let namespace = subject.namespace.as_str();
        let is = |resource: &str, namespace: &str, name: &str, uid: &str| {
            let found = self.objects.get(&GroupResource::new("", resource), namespace, name);
            found.is_some_and(|found| object::uid(&found) == uid && !is_long_deleted(&found, now))
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

/// Whether an object's deletion began longer ago than clocks may differ. A pod's deletion "begins" with the end of
/// its grace period, so that it keeps its identity while it shuts down.
fn is_long_deleted(found: &Value, now: Timestamp) -> bool {
    let deleted = object::deletion_timestamp(found).and_then(api_machinery::time::parse);
    deleted.is_some_and(|deleted| deleted.as_second() + LEEWAY_SECONDS < now.as_second())
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use pki::tokens::Subject;
    use serde_json::json;

    use super::*;
    use crate::authn::{Anonymous, Union};
    use crate::authz::node::References;

    /// By resource and name.
    struct Held(HashMap<(&'static str, &'static str), Value>);

    #[async_trait]
    impl Objects for Held {
        fn get(&self, resource: &GroupResource, _: &str, name: &str) -> Option<Arc<Value>> {
            let mut all = self.0.iter();
            let found = all.find(|((plural, own), _)| *plural == &*resource.resource && *own == name);
            found.map(|(_, value)| Arc::new(value.clone()))
        }
        fn references_on_node(&self, _: &str) -> Vec<Arc<References>> {
            Vec::new()
        }
        async fn refresh(&self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T00:10:00Z".parse().expect("a time")
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    /// What checks tokens while the pod they are bound to looks like this.
    fn accounts(dir: &std::path::Path, pod: Value) -> ServiceAccounts {
        let issuer = TokenIssuer::load_or_create(dir, "https://issuer", strings(&["api"])).expect("keys");
        let account = json!({"metadata": {"name": "web", "uid": "u1"}});
        let objects = Held(HashMap::from([(("serviceaccounts", "web"), account), (("pods", "p"), pod)]));
        ServiceAccounts { issuer: Arc::new(issuer), objects: Arc::new(objects), now }
    }

    fn token(accounts: &ServiceAccounts, audiences: &[&str]) -> String {
        let subject = Subject {
            namespace: "default".into(),
            service_account: "web".into(),
            service_account_uid: "u1".into(),
            pod: Some(("p".into(), "u2".into())),
            ..Subject::default()
        };
        accounts.issuer.issue(&subject, &strings(audiences), 600, now(), "id").expect("issues")
    }

    #[tokio::test]
    async fn what_is_bound_to_ends_with_it() {
        let dir = tempfile::tempdir().expect("dir");
        for (uid, deleted, good) in [
            ("u2", None, true),
            ("u2", Some("2026-11-22T00:20:00Z"), true),
            ("u2", Some("2026-11-22T00:09:30Z"), true),
            ("u2", Some("2026-11-22T00:08:59Z"), false),
            ("other", None, false),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "uid": uid}});
            if let Some(deleted) = deleted {
                pod["metadata"]["deletionTimestamp"] = deleted.into();
            }
            let accounts = accounts(dir.path(), pod);
            let checked = accounts.check(&token(&accounts, &["api"]), &strings(&["api"])).await;
            assert_eq!(checked.is_ok(), good, "{uid} {deleted:?}");
        }
    }

    #[tokio::test]
    async fn a_review_goes_by_the_tokens_own_audiences() {
        let dir = tempfile::tempdir().expect("dir");
        let accounts = accounts(dir.path(), json!({"metadata": {"name": "p", "uid": "u2"}}));
        let vault = token(&accounts, &["vault", "api"]);
        let api = token(&accounts, &["api"]);
        let own = strings(&["api"]);
        let all = Union { methods: vec![Box::new(accounts)], anonymous: Anonymous::everywhere() };
        for (token, wanted, fitting) in [
            (&vault, vec!["vault"], Some(vec!["vault"])),
            (&vault, vec!["api", "vault"], Some(vec!["vault", "api"])),
            (&api, vec!["api"], Some(vec!["api"])),
            (&api, vec!["vault"], None),
            (&vault, vec!["other"], None),
        ] {
            let wanted = strings(&wanted);
            let answer = all.review(token, Audiences { wanted: &wanted, own: &own }).await;
            let answer = answer.ok().flatten().map(|(user, fitting)| (user.is_in("system:authenticated"), fitting));
            assert_eq!(answer, fitting.map(|fitting| (true, strings(&fitting))), "{wanted:?}");
        }
    }
}
