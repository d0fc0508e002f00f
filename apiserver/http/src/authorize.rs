//! May they: asks the authorizer and words the refusal as upstream does.

use std::time::Instant;

use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource, UserInfo};

use crate::audit::Trail;
use crate::metrics;
use crate::request_info::RequestInfo;

/// Whether the user may make this request. 403 otherwise, before anything is looked up.
pub(crate) async fn request(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    info: &RequestInfo,
    trail: Option<&Trail>,
) -> Result<()> {
    let mut attributes = info.attributes(user);
    let mut decision = decide(authorizer, &attributes).await;
    // A WebSocket is opened with GET: running something in a pod needs `create` by any method. So it does by way of
    // a node, where upstream lets `get` do.
    if decision.allowed() && info.runs && info.verb != "create" {
        attributes.verb = "create".to_owned();
        decision = decide(authorizer, &attributes).await;
    }
    if let Some(trail) = trail {
        trail.authorized(&decision);
    }
    outcome(&attributes, decision)
}

/// 403 with upstream's text unless allowed; 500 where it could not be found out.
pub(crate) async fn check(authorizer: &dyn Authorizer, attributes: &AuthzAttributes) -> Result<()> {
    outcome(attributes, decide(authorizer, attributes).await)
}

async fn decide(authorizer: &dyn Authorizer, attributes: &AuthzAttributes) -> Decision {
    let started = Instant::now();
    let decision = authorizer.authorize(attributes).await;
    metrics::authorized(&decision, started.elapsed());
    decision
}

fn outcome(attributes: &AuthzAttributes, decision: Decision) -> Result<()> {
    match decision {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(refusal(attributes, &reason)),
        Decision::Failed { error, .. } => {
            tracing::error!(error, "an authorizer failed");
            Err(ApiError::internal("an authorizer failed"))
        }
    }
}

fn refusal(attributes: &AuthzAttributes, reason: &str) -> ApiError {
    let mut text = attributes.refusal();
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    let resource = GroupResource::new(&attributes.group, &attributes.resource);
    ApiError::forbidden(&resource, &attributes.name, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstreams() {
        let text = |info: RequestInfo| {
            let user = UserInfo { name: "u".to_owned(), ..UserInfo::default() };
            refusal(&info.attributes(&user), "").message
        };
        let pods =
            RequestInfo { is_resource: true, verb: "list".into(), resource: "pods".into(), ..RequestInfo::default() };
        assert_eq!(
            text(pods.clone()),
            r#"pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope"#
        );
        let scale = RequestInfo {
            verb: "patch".into(),
            group: "apps".into(),
            resource: "deployments".into(),
            name: "d".into(),
            namespace: "n".into(),
            subresource: "scale".into(),
            ..pods
        };
        assert_eq!(
            text(scale),
            r#"deployments.apps "d" is forbidden: User "u" cannot patch resource "deployments/scale" in API group "apps" in the namespace "n""#
        );
        let path = RequestInfo { verb: "get".into(), path: "/metrics".into(), ..RequestInfo::default() };
        assert_eq!(text(path), r#"forbidden: User "u" cannot get path "/metrics""#);
    }
}
