//! CertificateSubjectRestriction: nobody becomes a master by a client certificate that the cluster signs.

use api_machinery::{ApiError, UserInfo, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, csr};

pub(crate) struct CertificateSubjectRestriction;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let creates = attributes.creates("certificates.k8s.io", "certificatesigningrequests");
        let Some(request) = object.filter(|_| creates) else { return Ok(()) };
        if object::str_at(request, "spec.signerName") != SIGNER {
            return Ok(());
        }
        let why = match csr::subject(object::str_at(request, "spec.request")) {
            Err(why) => format!("failed to parse CSR: {why}"),
            Ok(subject) if subject.organizations.iter().any(|group| group == UserInfo::MASTERS) => {
                format!("use of {SIGNER} signer with {} group is not allowed", UserInfo::MASTERS)
            }
            Ok(_) => return Ok(()),
        };
        Err(attributes.forbidden(Some(request), &why))
    }
}
