//! CertificateSigning: who issues or fails a certificate must be allowed to for its signer.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, signers};

pub(crate) struct CertificateSigning;

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let signs = attributes.operation == Operation::Update && attributes.subresource == "status";
        let (Some(old), Some(new)) = (attributes.old.filter(|_| signs), object) else { return Ok(()) };
        if !attributes.is_any_of("certificates.k8s.io", "certificatesigningrequests") || !decides(new, old) {
            return Ok(());
        }
        let signer = object::str_at(old, "spec.signerName");
        if signers::may(attributes, "sign", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(object, &format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

fn decides(new: &Value, old: &Value) -> bool {
    let differ = |path| object::at(new, path) != object::at(old, path);
    differ("status.certificate") || differ("status.conditions")
}
