//! Approves the client certificates of kubelets, where whoever asks may have them: new ones for bootstrap tokens,
//! renewed ones for the node itself. Serving certificates are for an operator to approve, as upstream: a node could
//! ask for the names of others.

use std::time::Duration;

use api_machinery::certificates::Asked;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::controllers::certificates::{ACCOUNT, certificate, changed, condition, conditions, rules, usages};
use crate::meta::Meta;
use crate::plan::{Access, Action, PatchType, Plan, Target, to_value};
use crate::world::{Change, Key, World};

pub struct CsrApprovingController;

/// Who may not have the certificate now may be let to later.
const ASK_AGAIN: Duration = Duration::from_secs(30);

impl Controller for CsrApprovingController {
    fn name(&self) -> &'static str {
        "certificate_approving"
    }
    fn account(&self) -> &'static str {
        ACCOUNT
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        changed(change)
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = world.certificate_signing_requests.at(key) else { return plan };
        let decided = ["Approved", "Denied"].iter().any(|kind| condition(request, kind).is_some());
        if decided || !certificate(request).is_empty() || request.spec.signer_name != rules::KUBELET_CLIENT {
            return plan;
        }
        // The server took it, so it can be read; what cannot is nobody's to approve.
        let Ok(asked) = Asked::read(&request.spec.request.0) else { return plan };
        if rules::kubelet_client(&asked, usages(request)).is_err() {
            return plan;
        }
        plan.push(Action::WhenAllowed { choices: choices(request, &asked, context) });
        plan.requeue(ASK_AGAIN);
        plan
    }
}

/// Renewal by the node itself comes first, as upstream.
fn choices(request: &CertificateSigningRequest, asked: &Asked, context: &Context<'_>) -> Vec<(Access, Action)> {
    let own = request.spec.username.as_deref() == Some(asked.common_name.as_str());
    let renewal = own.then(|| {
        let message = "Auto approving self kubelet client certificate after SubjectAccessReview.";
        (access(request, "selfnodeclient"), approval(request, message, context))
    });
    let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
    renewal.into_iter().chain([(access(request, "nodeclient"), approval(request, message, context))]).collect()
}

fn access(request: &CertificateSigningRequest, subresource: &'static str) -> Access {
    let spec = &request.spec;
    Access {
        user: spec.username.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
        verb: "create",
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        subresource,
    }
}

/// Refused when the request has changed since it was looked at: somebody may have denied it.
fn approval(request: &CertificateSigningRequest, message: &str, context: &Context<'_>) -> Action {
    let mut all = conditions(request).to_vec();
    let now = crate::meta::time(context.now);
    all.push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    });
    let metadata = json!({"uid": request.uid(), "resourceVersion": request.metadata.resource_version});
    let body = json!({"metadata": metadata, "status": {"conditions": to_value(&all)}});
    Action::Patch { target: Target::of(request), subresource: "approval", patch: PatchType::Merge, body }
}
