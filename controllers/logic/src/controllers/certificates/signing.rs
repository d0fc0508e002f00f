//! Has approved requests of the signers of `kubernetes.io` signed, by their rules; says why where it does not.

use api_machinery::certificates::Asked;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use crate::controller::{Context, Controller};
use crate::controllers::certificates::{ACCOUNT, certificate, changed, condition, rules, usages};
use crate::meta::{self, Meta};
use crate::plan::{Action, Plan, Signing, Target};
use crate::world::{Change, Key, World};

pub struct CsrSigningController;

impl Controller for CsrSigningController {
    fn name(&self) -> &'static str {
        "csrsigning"
    }
    fn account(&self) -> &'static str {
        ACCOUNT
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        changed(change)
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = world.certificate_signing_requests.at(key).filter(|request| is_due(request)) else {
            return plan;
        };
        let checked = match Asked::read(&request.spec.request.0) {
            Ok(asked) => rules::check(&request.spec.signer_name, &asked, usages(request)),
            Err(why) => rules::check(&request.spec.signer_name, &Asked::default(), &[]).map(|_| Err(why)),
        };
        match checked {
            // Somebody else's to sign.
            None => {}
            Some(Err(why)) => fail(request, why, context, &mut plan),
            Some(Ok(())) => plan.push(Action::Sign(order(request))),
        }
        plan
    }
}

/// Approved, and neither denied nor done with.
fn is_due(request: &CertificateSigningRequest) -> bool {
    let has = |kind: &str| condition(request, kind).is_some();
    let failed = condition(request, "Failed").is_some_and(|failed| failed.status == "True");
    has("Approved") && !has("Denied") && !failed && certificate(request).is_empty()
}

fn order(request: &CertificateSigningRequest) -> Signing {
    Signing {
        target: Target::of(request),
        uid: request.uid().to_owned(),
        request: request.spec.request.0.clone(),
        usages: usages(request).to_vec(),
        seconds: request.spec.expiration_seconds.map(i64::from),
    }
}

fn fail(request: &CertificateSigningRequest, why: String, context: &Context<'_>, plan: &mut Plan) {
    let mut failed = CertificateSigningRequest::clone(request);
    let now = meta::time(context.now);
    let conditions = failed.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: "Failed".to_owned(),
        status: "True".to_owned(),
        reason: Some("SignerValidationFailure".to_owned()),
        message: Some(why),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    });
    plan.change(request, &failed, "status");
}
