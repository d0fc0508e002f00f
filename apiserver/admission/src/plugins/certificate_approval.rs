//! CertificateApproval: who approves or denies a request must be allowed to for its signer.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, signers};

pub(crate) struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let approves = attributes.operation == Operation::Update && attributes.subresource == "approval";
        let Some(old) = attributes.old.filter(|_| approves) else { return Ok(()) };
        if !attributes.is_any_of("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        let signer = object::str_at(old, "spec.signerName");
        if signers::may(attributes, "approve", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(object, &format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}
