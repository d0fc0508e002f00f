//! Who may use the kubelet: API servers, and those who may do everything anyway.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Whom a client certificate names. TLS has checked that our CA signed it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    groups: Vec<String>,
}

/// Names the API server's client certificate may have.
const API_SERVERS: &[&str] = &["kube-apiserver-kubelet-client", "system:kube-apiserver"];

impl Caller {
    pub(super) fn may_use_kubelet(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters") || API_SERVERS.contains(&self.name.as_str())
    }
}

/// `None`: no certificate, or one that names nobody.
pub(super) fn identify(chain: Option<&[CertificateDer<'_>]>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(Caller { name, groups })
}
