//! Deletes certificate signing requests that are over, at upstream's ages.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use crate::controller::{Context, Controller};
use crate::controllers::certificates::{ACCOUNT, certificate, condition, conditions};
use crate::meta::Meta;
use crate::plan::Plan;
use crate::world::{Change, Key, World};

pub struct CsrCleanerController;

/// Since it was approved, denied or failed.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);
/// Since it was made, while nobody says anything.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

impl Controller for CsrCleanerController {
    fn name(&self) -> &'static str {
        "csrcleaner"
    }
    fn account(&self) -> &'static str {
        ACCOUNT
    }
    fn workers(&self) -> usize {
        1
    }
    /// Ages pass without changes: all are looked at from time to time.
    fn keys(&self, _world: &World, _change: &Change<'_>) -> Vec<Key> {
        Vec::new()
    }
    fn all_keys(&self, world: &World) -> Vec<Key> {
        world.certificate_signing_requests.keys().cloned().collect()
    }
    fn resync_seconds(&self) -> u64 {
        3600
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        if let Some(request) = world.certificate_signing_requests.at(key)
            && is_over(request, context.now)
        {
            plan.delete(&**request);
        }
        plan
    }
}

fn is_over(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let settled = ["Approved", "Denied", "Failed"].iter().filter_map(|kind| condition(request, kind));
    let past = settled.into_iter().any(|one| updated(one).is_some_and(|at| is_older(at, SETTLED, now)));
    let pending = conditions(request).is_empty() && is_older(request.created(), PENDING, now);
    past || pending || is_expired(request, now)
}

fn updated(condition: &CertificateSigningRequestCondition) -> Option<Timestamp> {
    condition.last_update_time.as_ref().map(|time| time.0)
}

fn is_older(at: Timestamp, than: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(at) > than
}

/// The certificate it was for has ended.
fn is_expired(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let end = api_machinery::certificates::ends_at(certificate(request));
    condition(request, "Approved").is_some() && end.is_some_and(|end| end < now.as_second())
}
