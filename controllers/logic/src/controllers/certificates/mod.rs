//! Certificate signing requests: approving those of kubelets, signing what is approved, clearing away what is over.

mod approving;
mod cleaning;
mod rules;
mod signing;

pub use approving::CsrApprovingController;
pub use cleaning::CsrCleanerController;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
pub use signing::CsrSigningController;

use crate::world::{Change, Key, Kind};

/// All three act in its name.
const ACCOUNT: &str = "certificate-controller";

/// Each looks at requests by name, when they come and change.
fn changed(change: &Change<'_>) -> Vec<Key> {
    match change.kind {
        Kind::CertificateSigningRequest => {
            change.current::<CertificateSigningRequest>().map(Key::of).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or(&[])
}

fn condition<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Option<&'a CertificateSigningRequestCondition> {
    conditions(request).iter().find(|condition| condition.type_ == kind)
}

/// PEM; empty when none is issued.
fn certificate(request: &CertificateSigningRequest) -> &[u8] {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.map_or(&[], |bytes| &bytes.0)
}

fn usages(request: &CertificateSigningRequest) -> &[String] {
    request.spec.usages.as_deref().unwrap_or(&[])
}
